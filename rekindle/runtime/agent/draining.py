"""How an app's pools end that has a newer version: none of its inputs is cancelled.

They end when nothing of them waits, runs or is lent; or at once, and what they had goes back to the
controller. An input that comes later finds a new pool.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rekindle.runtime.agent.functions import Functions
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.leases.leases import Leases
from rekindle.runtime.agent.leases.requests import NEWER_VERSION
from rekindle.runtime.agent.pools.pool import Pool

#: How often pools that end are looked at.
_LOOK_S = 0.05


@dataclass(eq=False)
class Draining:
    """Ends pools."""

    _inventory: Inventory
    _functions: Functions
    _leases: Leases
    _close_pool: Callable[[Pool], Awaitable[None]]

    def begin(self, app_id: str) -> None:
        """No client gets a runner of it any more, nor begins a call on one that it has.

        But for calls that the controller says are meant for just this version, from now on.
        """
        if app_id in self._functions.retired:
            return  # who asks for it since means it
        now = self._functions.retired[app_id] = time.monotonic()
        pools = self._pools(app_id)
        for pool in pools:
            pool.retired_at = now
            self._leases.requests.refuse_pool(pool.key, NEWER_VERSION)
        self._leases.recalls.drain(pools)

    async def end(self, app_id: str, *, at_once: bool) -> None:
        """Return when the runners and the templates of an app are gone."""
        self.begin(app_id)
        while not at_once and self._is_used(self._pools(app_id)):
            await asyncio.sleep(_LOOK_S)
        # No wait until they are out of the inventory: what comes now must not meet a closed pool.
        ending = self._pools(app_id)
        for pool in ending:
            del self._inventory.pools[pool.key]
            if at_once:
                pool.hand_back(NEWER_VERSION)
            pool.shut()
        self._functions.forget(app_id)
        await asyncio.gather(*map(self._close_pool, ending))
        self.drop_templates(ending)

    def _pools(self, app_id: str) -> list[Pool]:
        return [pool for pool in self._inventory.pools.values() if pool.app_id == app_id]

    def _is_used(self, pools: list[Pool]) -> bool:
        lent = self._leases.recalls.drain(pools)
        return lent or any(
            pool.waiting or pool.runners.with_inputs() or pool.runners.starting or pool.unscheduled
            for pool in pools
        )

    def drop_templates(self, ended: list[Pool]) -> None:
        """Let templates of pools go that are gone, where their app has a newer version.

        Those that no other pool uses; a snapshot that is being made of one is made first.
        """
        used = {id(pool.revision) for pool in self._inventory.pools.values()}
        for key, revision in list(self._inventory.revisions.items()):
            mine = any(pool.revision is revision for pool in ended)
            if not mine or id(revision) in used:
                continue
            if revision.background:  # nobody else would look at it again
                next(iter(revision.background)).add_done_callback(
                    lambda _task: asyncio.get_running_loop().call_soon(self.drop_templates, ended)
                )
                continue
            revision.shut()
            del self._inventory.revisions[key]
