"""Sees to it that as many spares wait as plans ask for: forked when nothing else is to be done.

A start takes one; the next are forked together a moment after the last start is ready, so that they
do not compete with what was started. While starts go on without a pause they come late. What is
waiting counts against the node's memory like all else, and is the first to go (budget.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from rekindle.exception import StartError
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.scheduling.budget import Budget
from rekindle.runtime.agent.scheduling.idle_levels import level_wanted, live
from rekindle.runtime.agent.starts.activity import StartActivity
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.wire.logs import kv
from rekindle.wire.pools import Level

log = logging.getLogger(__name__)

#: Nothing was started for so long: then spares are forked.
PAUSE_S = 0.01
#: They come after this in any case.
LATEST_S = 0.5


@dataclass(eq=False)
class SpareKeeper:
    """Of all revisions of a node."""

    inventory: Inventory
    budget: Budget
    activity: StartActivity
    #: Of the node. A spare becomes a runner: more of them than that are of no use.
    max_runners: int

    async def keep_forever(self) -> None:
        """Fork what is missing whenever starts have ended; until cancelled."""
        while True:
            await self.activity.changed.wait()
            await self.activity.pause(PAUSE_S, LATEST_S)
            self.activity.changed.clear()
            self.follow()

    def follow(self) -> None:
        """Fork what is missing, and let go of what is too much."""
        sharing: dict[int, list[Pool]] = {}
        for pool in self.inventory.pools.values():
            if not pool.closed:
                sharing.setdefault(id(pool.revision), []).append(pool)
        for revision in self.inventory.revisions.values():
            if live(revision):
                try:
                    self._follow(revision, sharing.get(id(revision), []))
                except StartError as error:
                    log.warning("no spare", extra=kv(function=revision.label, reason=error))

    def _follow(self, revision: Revision, pools: list[Pool]) -> None:
        template = revision.template
        wanted = min(spares_wanted(pools), self.max_runners)
        if template is None or template.fork_unsafe or revision.restoring:
            return
        template.spares.wanted = wanted
        template.spares.keep(wanted)
        missing = template.spares.missing(wanted)
        if missing and (fit := self.budget.spares_that_fit(revision, missing)):
            template.spares.add(fit)


def spares_wanted(pools: Iterable[Pool]) -> int:
    """How many are to wait for these pools of one revision, where its template lives."""
    pools = list(pools)
    if level_wanted(pools) is not Level.SPARE:
        return 0
    return max(
        (pool.sizing.plan.spares for pool in pools if not pool.sizing.spares_given_up), default=0
    )
