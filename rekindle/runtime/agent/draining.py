"""How an app's pools end, and the templates of a former version with them.

Those of a version that has a newer one are drained: none of its inputs is cancelled. They end when
nothing of them waits, runs or is lent; or at once, and what they had goes back to the controller.
An input that comes later finds a new pool. Where the app is closed, which for a former version
comes after that, all that it has ends, and nothing of it is opened any more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from rekindle.runtime.agent import closing
from rekindle.runtime.agent.functions import Functions
from rekindle.runtime.agent.inventory import Inventory
from rekindle.runtime.agent.leases.leases import Leases
from rekindle.runtime.agent.leases.requests import NEWER_VERSION
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.starts.revision import Revision

#: How often pools that end are looked at.
_LOOK_S = 0.05


@dataclass(eq=False)
class Draining:
    """Ends pools."""

    _inventory: Inventory
    _functions: Functions
    _leases: Leases

    def begin(self, app_id: str) -> None:
        """No client gets a runner of it any more, nor begins a call on one that it has.

        But for calls that the controller says are meant for just this version, from now on.
        """
        now = self._functions.retire(app_id)
        if now is None:
            return  # who asks for it since means it
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
        await asyncio.gather(*(closing.close_pool(self._leases, pool) for pool in ending))
        self._drop_templates([pool.revision for pool in ending])

    async def close(self, app_id: str) -> None:
        """An app is closed: return when its runners are gone, interrupted where they run."""
        was_retired = self._functions.app_closed(app_id)
        ending = self._pools(app_id)
        await asyncio.gather(
            *(closing.close_pool(self._leases, pool, interrupt=True) for pool in ending)
        )
        revisions = [pool.revision for pool in ending]
        await closing.finish_snapshots(revisions, closing.FREEZE_GRACE_S)
        for pool in ending:
            if self._inventory.pools.get(pool.key) is pool:  # it may have been drained meanwhile
                del self._inventory.pools[pool.key]
        if was_retired:  # what came for it after it was drained had a pool of it opened again
            self._drop_templates(revisions)

    def _pools(self, app_id: str) -> list[Pool]:
        return [pool for pool in self._inventory.pools.values() if pool.app_id == app_id]

    def _is_used(self, pools: list[Pool]) -> bool:
        lent = self._leases.recalls.drain(pools)
        return lent or any(
            pool.waiting
            or pool.runners.with_inputs()
            or pool.runners.starting
            or pool.starts.unscheduled
            for pool in pools
        )

    def _drop_templates(self, revisions: list[Revision]) -> None:
        """Let templates go of pools that are gone, where their app has a newer version.

        Those that no other pool uses, which goes later; a snapshot that is being made of one is
        made first. Upkeep may have taken one out of the inventory, which had no template then.
        """
        used = {id(pool.revision) for pool in self._inventory.pools.values()}
        for revision in {id(one): one for one in revisions}.values():
            if id(revision) in used:
                continue
            if revision.background:  # nobody else would look at it again
                next(iter(revision.background)).add_done_callback(partial(self._made, revision))
                continue
            revision.shut()
            known = self._inventory.revisions
            for key in [key for key, one in known.items() if one is revision]:
                del known[key]

    def _made(self, revision: Revision, _task: asyncio.Task[None]) -> None:
        """In a turn of its own: it is in the background no more then."""
        asyncio.get_running_loop().call_soon(self._drop_templates, [revision])
