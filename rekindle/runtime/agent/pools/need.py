"""How many runners are to be started for the inputs, and the clients, that wait in a pool.

For those that are there already, and that are coming, nothing is started. Whether one may be is
the pool's and the scheduler's to say; what its plan wants beyond that is not asked here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rekindle.runtime.agent.pools.backoff import Backoff
from rekindle.runtime.agent.pools.dispatcher import InputDispatcher
from rekindle.runtime.agent.pools.plan import Sizing
from rekindle.runtime.agent.pools.ramp import Ramp
from rekindle.runtime.agent.pools.runner_set import RunnerSet
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.wire.phases import now_ns
from rekindle.wire.spec import FunctionSpec

#: While it is not known how long inputs take, the first one is given this long to show it before
#: more runners are started for those behind it.
_PROBE_S = 0.01


@dataclass(eq=False)
class Need:
    """That of one pool."""

    _spec: FunctionSpec
    _runners: RunnerSet
    _dispatcher: InputDispatcher
    _sizing: Sizing
    _backoff: Backoff
    _ramp: Ramp
    #: Has it asked again after so many seconds.
    later: Callable[[float], None]

    def missing(self, depth: int, returning: int, asking: int) -> int:
        """Runners to start; 0 or less for none.

        ``depth``: of the input that is next. ``returning``: lent runners that have been asked back.
        ``asking``: clients that wait for one to be lent to them.
        """
        waits = self._dispatcher.waiting or asking
        if not waits or (self._backoff.is_loop and self._backoff.left_s() > 0):
            return 0
        if self._spec.takes_many:
            return self._of_many(asking)
        if self._spec.single_use_containers:
            return self._one_for_each(asking)
        return self._of_one_at_a_time(depth, returning, asking)

    def _of_many(self, asking: int) -> int:
        """So that each has as many inputs, and clients, as are aimed at."""
        there = self._runners.counting(self._dispatcher.depth())
        coming = self._runners.starting
        open_ = [one for one in there if not (one.private or one.emptying)]
        serving = [one for one in open_ if one.slots is not None]
        load = sum(len(one.slots) for one in serving if one.slots is not None)
        suspects = self._dispatcher.suspects()
        waiting = len(self._dispatcher.waiting) + asking - suspects
        wanted = math.ceil((load + max(0, waiting)) / self._spec.aimed_inputs)
        missing = wanted - len(serving) - coming
        idle = sum(1 for one in serving if not one.slots)
        return max(missing, 0) + max(0, suspects - idle - coming)

    def _one_for_each(self, asking: int) -> int:
        """However short they are: no runner that is there has room for another."""
        waiting = len(self._dispatcher.waiting)
        too_many = waiting - self._runners.unclaimed - self._ramp.room()
        if too_many > 0:
            self.later(self._ramp.room_in_s())
        return waiting + asking - self._runners.starting - max(0, too_many)

    def _of_one_at_a_time(self, depth: int, returning: int, asking: int) -> int:
        waiting, pace = self._dispatcher.waiting, self._dispatcher.pace
        runners, lent = self._runners, RunnerState.LENT
        there: Iterable[Runner] = runners.counting(depth) if depth else runners.values()
        serving = [r for r in there if r.state is not lent and not r.private]
        coming = runners.starting + returning
        # Each that a runner died with may need one for itself, however short the others are: one
        # after the other, they would wait for each other's starts.
        suspects = self._dispatcher.suspects()
        missing = pace.runners_for(len(waiting) + asking - suspects) + suspects - coming
        if not serving:
            return max(missing, 1 - coming)
        if pace.service_s is None:
            probed = time.monotonic() - _PROBE_S
            if any(r.seen_at > probed for r in serving if r.state is RunnerState.BUSY):
                return 0
        patience_s = self._sizing.plan.patience_s
        if patience_s and waiting:
            waited_ns = now_ns() - waiting[0].order.received_ns
            if waited_ns < patience_s * 1e9:
                return 0
        return missing
