"""Which lent runners are taken back, and for whom: inputs that wait, other pools, other clients.

How a runner is taken back is leases.py's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

from rekindle.runtime.agent.leases.lease import Lease, LeaseState
from rekindle.runtime.agent.leases.lease_monitor import LOOK_S, OFFER_S
from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.wire.phases import now_ns

#: One that was not called for this long goes to another client that asks for a lease.
STALE_S = 1.0


@dataclass(eq=False)
class Recalls:
    """Chooses among the leases of a node; owns none of them."""

    _leases: Mapping[str, Lease]
    #: Does nothing with one that was taken back.
    _recall: Callable[[Lease], None]

    def returning(self, pool: Pool) -> int:
        """Lent runners of a pool that have been asked back, and come back for what waits.

        One whose call waits for calls that it made comes back after them: for those it does not.
        """
        return len(self._returning(pool))

    def returning_soon(self, pool: Pool) -> int:
        """Those of them that may be back before another runner is there: a call that has run for
        longer than a start takes may run for ever, and a generator's reader may wait for the start.
        """
        at_ns, start_s = now_ns(), pool.dispatcher.pace.start_s
        mine = self._returning(pool)
        return sum(1 for one in mine if not one.runs or one.ran_s(at_ns) <= start_s)

    def _returning(self, pool: Pool) -> list[Lease]:
        depth = pool.depth()
        return [one for one in self._recalled(pool) if not _waits_for(one, depth)]

    def recall_for(self, pool: Pool, *, stuck: bool, asking: int = 0) -> bool:
        """Inputs wait in a pool and no runner of it is idle; whether one is idle now.

        ``asking``: clients that wait for as long as it takes.

        Takes back runners that are not called just now, whatever runs on those that were asked back
        before; when ``stuck``, as none can be started, any.
        """
        depth, wanted = pool.depth(), len(pool.waiting) + asking
        at_once = wanted - sum(1 for one in self._recalled(pool) if not one.runs)
        missing = wanted - self.returning(pool)
        now, came_back = time.monotonic(), False
        for lease in self._least_used(pool):
            runs = lease.runs
            if (missing if runs else at_once) <= 0:
                break  # those that run are last
            if runs and _waits_for(lease, depth):
                continue
            if stuck or (not runs and now - lease.used >= 2 * LOOK_S):
                self._recall(lease)
                missing -= 1
                at_once -= not runs
                came_back = came_back or lease.state is LeaseState.ENDED
        return came_back

    def take_back(self, runner: Runner) -> None:
        """This runner has to make room: it serves what was sent to it, and returns."""
        for lease in list(self._leases.values()):
            if lease.runner is runner:
                self._recall(lease)

    def take_back_idle(self, runner: Runner) -> None:
        """This runner is to end: its clients that do not call it now have it no longer."""
        for lease in list(self._leases.values()):
            if lease.runner is runner and not lease.runs:
                self._recall(lease)

    def drain(self, pools: Container[Pool]) -> bool:
        """Take back all of some pools, after the calls that run; whether clients have any yet."""
        mine = [lease for lease in self._leases.values() if lease.pool in pools]
        for lease in mine:
            lease.recall_when_held = True
            self._recall(lease)
        return any(lease.state is not LeaseState.ENDED for lease in mine)

    def is_surplus(self, pool: Pool) -> bool:
        """Whether a pool has more runners than it may have now."""
        runners, most = pool.runners, pool.sizing.limit
        if len(runners) <= most:
            return False
        most += self.returning(pool)
        return len(runners) > most and runners.running() + len(runners.idle()) > most

    def make_room(self, pool: Pool, *, waited: bool) -> None:
        """Another pool needs the place of a runner: one that is not called comes back for it.

        ``waited``: it has waited for one; then also one that is called again and again and that a
        plan keeps, which is given up in no other way.
        """
        others = [lease for lease in self._leases.values() if lease.pool is not pool]
        if any(lease.state is LeaseState.RECALLED for lease in others):
            return
        now = time.monotonic()
        idle = [
            one
            for one in others
            if one.state is LeaseState.HELD
            and not one.runs
            and (not one.runner.is_in_use(now, one.used) or (waited and one.pool.keeps_all))
        ]
        if idle:
            self._recall(min(idle, key=lambda lease: lease.used))

    def give_one_up(self, pool: Pool) -> None:
        """One more runner of this pool is to end: a client's comes back after the call that runs.

        That which was called longest ago; none whose call waits for calls that it made, and none
        where as many have been asked back as are to end.
        """
        if len(self._recalled(pool)) >= pool.dispatcher.giving:
            return
        for lease in self._least_used(pool):
            if lease.state is LeaseState.HELD and lease.runner.waits_at < 0:
                self._recall(lease)
                return

    def has_idle(self, pool: Pool) -> bool:
        """Whether a client holds a runner that it does not call just now, and that stays when it
        comes back."""
        return any(not (one.runs or one.runner.private) for one in self._least_used(pool))

    async def borrow_back(self, pool: Pool) -> Runner | None:
        """An idle runner of the pool, taken back from its client where it must be."""
        for lease in self._least_used(pool):
            if lease.runner.private:
                continue
            self._recall(lease)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OFFER_S):
                    await lease.ended.wait()
            break
        return pool.runners.last_used()

    def recall_stale(self, pool: Pool) -> None:
        """A client asks for a lease: one that is not used can be theirs the next time."""
        for lease in self._least_used(pool):
            if not lease.runs and time.monotonic() - lease.used >= STALE_S:
                self._recall(lease)
                return

    def even_out(self, pool: Pool) -> None:
        """Where runners have several inputs at a time: clients that one runner has beyond what is
        aimed at go where there is room, as soon as they do not call."""
        spec = pool.revision.spec
        if not spec.takes_many:
            return
        loads = {
            one.id: len(one.slots)
            for one in pool.runners.values()
            if one.slots is not None and not (one.private or one.emptying)
        }
        room = sum(max(0, spec.aimed_inputs - load) for load in loads.values())
        for lease in self._least_used(pool):
            if room <= 0:
                return
            if loads.get(lease.runner.id, 0) > spec.aimed_inputs and lease.state is LeaseState.HELD:
                self._recall(lease)
                loads[lease.runner.id] -= 1
                room -= 1

    def _recalled(self, pool: Pool) -> list[Lease]:
        mine = [one for one in self._leases.values() if one.pool is pool]
        return [one for one in mine if one.state is LeaseState.RECALLED]

    def _least_used(self, pool: Pool) -> list[Lease]:
        lent = (LeaseState.OFFERED, LeaseState.HELD)
        mine = [one for one in self._leases.values() if one.pool is pool and one.state in lent]
        return sorted(mine, key=lambda lease: (lease.runs, lease.used))


def _waits_for(lease: Lease, depth: int) -> bool:
    """Whether its call waits for calls that it made, and an input at ``depth`` can be of these."""
    return lease.is_live and 0 <= lease.runner.waits_at < depth
