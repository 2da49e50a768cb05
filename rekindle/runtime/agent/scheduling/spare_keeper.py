"""Sees to it that as many spares wait as plans ask for: forked when nothing else is to be done.

A start takes one; the next are forked together a moment after the last start is ready, so that they
do not compete with what was started. While starts go on without a pause they come late. What is
waiting counts against the node's memory like all else, and is the first to go (budget.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from rekindle import guarded_loops
from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import StartError
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.scheduling.budget import Budget
from rekindle.runtime.agent.scheduling.idle_levels import level_wanted, live
from rekindle.runtime.agent.starts import spare_contexts
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
    tasks: BackgroundTasks
    #: Whether there was anything to wait for the last time.
    _had_some: bool = False

    async def keep_forever(self) -> None:
        """Fork what is missing whenever starts have ended; until cancelled."""
        await guarded_loops.repeat("keep spares", self._keep)

    async def _keep(self) -> None:
        await self.activity.changed.wait()
        if some := self._has_any():
            await self.activity.pause(PAUSE_S, LATEST_S)
        self.activity.changed.clear()
        had_some, self._had_some = self._had_some, some
        if some or had_some:
            self.follow()

    def _has_any(self) -> bool:
        """Whether a plan asks for spares, or some wait: else there is nothing to wait for."""
        pools, revisions = self.inventory.pools.values(), self.inventory.revisions.values()
        return any(pool.sizing.plan.spares for pool in pools) or any(
            one.template is not None and one.template.spares.waiting for one in revisions
        )

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
                except (StartError, OSError) as error:
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
        self._bring_up_contexts(revision, pools, min(wanted, revision.spec.gpu_spares))

    def _bring_up_contexts(self, revision: Revision, pools: list[Pool], wanted: int) -> None:
        """Have as many of those that wait hold a GPU that nobody needs, with its context."""
        template, pool = revision.template, next(iter(pools), None)
        if template is None or pool is None or not wanted:
            return
        tracker = revision.gpu_tracker
        if tracker is not None and tracker.snapshot is not None:
            return  # its starts come from there
        waiting = template.spares.waiting
        missing = wanted - sum(1 for one in waiting if one.gpu_owner)
        for child in [one for one in waiting if not one.gpu_owner][: max(0, missing)]:
            if not spare_contexts.bring_up(pool.starter, template.spares, child, self.tasks):
                return


def spares_wanted(pools: Iterable[Pool]) -> int:
    """How many are to wait for these pools of one revision, where its template lives."""
    pools = list(pools)
    if level_wanted(pools) is not Level.SPARE:
        return 0
    return max(
        (pool.sizing.plan.spares for pool in pools if not pool.sizing.spares_given_up), default=0
    )
