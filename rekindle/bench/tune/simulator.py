"""A node, simulated event by event, with the plans of a policy: the code of the controller's.

It does what the agent's pools do: an idle runner takes an input at once, the newest one first;
else the input waits for one that becomes free or is started for it, whichever is sooner. Memory is
a budget: what has the lowest priority makes room. The loop over arrivals is long on purpose: at
100,000 a second each has ten microseconds.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence

from rekindle.bench.tune import pools as sim_pools
from rekindle.bench.tune.pools import Candidate, Node, SimPool, SimRunner, check_room
from rekindle.bench.tune.trace import Trace, TracedFunction
from rekindle.controller.policies.policy import Policy
from rekindle.counted import counted
from rekindle.exception import InvalidError
from rekindle.wire.pools import Level, PoolPlan

_FINISH, _READY, _TEND, _PATIENCE, _RAISED, _REFILL, _FORKED = range(7)
_Event = tuple[float, int, int, SimPool, SimRunner | None]

#: Plans are renewed this often at most, as the controller does, but for times that a policy itself
#: asks for.
_TICK_S = 2.0
#: Added to the time of a look, so that what is due is due in spite of rounding.
_LATER_S = 1e-6


class Simulation:
    """One policy on one trace; ``run`` once, then look at ``pools``."""

    def __init__(self, trace: Trace, policy: Policy, node: Node | None = None) -> None:
        self.trace = trace
        self.policy = policy
        self.node = node or Node()
        self.used = 0.0
        self.peak_used = 0.0
        self.runners = 0
        self.end = 0.0
        self.pools = [self._pool(function) for function in trace.functions]
        self._heap: list[_Event] = []
        self._order = 0
        self._starved: deque[SimPool] = deque()

    def run(self) -> Simulation:
        """Replay the whole trace; every arrival has run when it returns."""
        heap, push, pop = self._heap, heapq.heappush, heapq.heappop
        pools, fire = self.pools, self._fire
        for pool in pools:
            self._replan(pool, 0.0)
            self._tend(pool, 0.0)
            pool.replan_at = -math.inf  # its first input changes everything
        last = 0.0
        for times, which, services in self.trace.chunks():
            for now, index, service in zip(times, which, services, strict=True):
                while heap and heap[0][0] <= now:
                    fire(pop(heap))
                pool = pools[index]
                pool.arrived(now)
                in_flight = pool.in_flight
                if in_flight:
                    pool.demand_s += in_flight * (now - pool.demand_at)
                else:
                    pool.wake(now)
                pool.demand_at = now
                pool.in_flight = in_flight + 1
                if now >= pool.replan_at:
                    self._replan(pool, now)
                if pool.idle:
                    runner = pool.idle.pop()
                    runner.service = service
                    pool.idle_s += now - runner.idle_since
                    pool.busy += 1
                    pool.warm += 1
                    self._order = order = self._order + 1
                    push(heap, (now + service, order, _FINISH, pool, runner))
                    if pool.plan.buffer:
                        self._tend(pool, now)
                else:
                    pool.waiting.append((now, service))
                    self._start_for_waiting(pool, now)
                last = now
        self._drain(last)
        return self

    def _drain(self, last: float) -> None:
        """Let everything end that runs or waits, then what is held until the trace ends."""
        left = sum(pool.in_flight for pool in self.pools)
        horizon = max(self.trace.duration_s, last)
        self.end = horizon
        while self._heap and (left or self._heap[0][0] <= horizon):
            event = heapq.heappop(self._heap)
            if event[2] == _FINISH:
                left -= 1
                self.end = max(self.end, event[0])
            self._fire(event)
        if left:
            raise InvalidError(
                f"{counted(left, 'input')} could never run: what min_containers keeps leaves no "
                "room for the runners of other functions; give the node more (--memory-gib, "
                "--max-runners)"
            )
        for pool in self.pools:
            pool.close(self.end)
        for event in self._heap:
            if event[2] == _READY and event[4] is not None:  # still starting
                event[3].runner_s += self.end - event[4].born

    # ---- events ----------------------------------------------------------------------------

    def _fire(self, event: _Event) -> None:
        now, _, kind, pool, runner = event
        if kind == _FINISH:
            assert runner is not None
            in_flight = pool.in_flight
            pool.demand_s += in_flight * (now - pool.demand_at)
            pool.demand_at = now
            pool.in_flight = in_flight - 1
            pool.busy -= 1
            pool.ended += 1
            pool.ended_s += runner.service
            self._free(pool, runner, now, warm=True)
            if in_flight == 1:
                pool.quiet_since = now
                pool.sizer.quiet(now)
                if now >= pool.replan_at:
                    self._replan(pool, now)
                self._look(pool, now + pool.look_after_s)
        elif kind == _READY:
            assert runner is not None
            pool.starting -= 1
            if pool.base is not pool.plan.base and pool.raising is None:
                wanted = pool.lowered(pool.plan.base)
                if wanted is not pool.base:
                    self._rebase(pool, wanted, now)
            self._free(pool, runner, now, warm=False)
            if not pool.in_flight:
                self._look(pool, now + _LATER_S)  # made ahead of time, or needed no longer
        elif kind == _TEND:
            if now == pool.tend_at:
                pool.tend_at = math.inf
                self._tend(pool, now)
        elif kind == _PATIENCE:
            if now == pool.patience_at:
                pool.patience_at = math.inf
                self._start_for_waiting(pool, now)
        elif kind == _REFILL:
            self._refill(pool, now)
        elif kind == _FORKED:
            pool.forking = 0
            self._tend_spares(pool, now)
        elif pool.raising is not None:  # _RAISED
            level, pool.raising = pool.raising, None
            if level is self._base_wanted(pool, now):
                self._rebase(pool, level, now)

    def _free(self, pool: SimPool, runner: SimRunner, now: float, *, warm: bool) -> None:
        """A runner has nothing to do: the input that waits longest is its own, or it idles."""
        pool.progress_at = now
        if pool.waiting:
            arrived, service = pool.waiting.popleft()
            runner.service = service
            pool.busy += 1
            if warm:
                pool.warm += 1
            else:
                pool.starts[runner.strategy] += 1
            if now > arrived:
                pool.waits.append(now - arrived)
            self._push(now + service, _FINISH, pool, runner)
            return
        runner.idle_since = now
        pool.idle.append(runner)
        self._look(pool, now + pool.plan.keep_s)
        if self._starved:
            self._feed(now)

    def _push(self, when: float, kind: int, pool: SimPool, runner: SimRunner | None) -> None:
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, kind, pool, runner))

    def _look(self, pool: SimPool, when: float) -> None:
        """Tend the pool then at the latest."""
        if when < pool.tend_at:
            pool.tend_at = when
            self._push(when, _TEND, pool, None)

    # ---- plans -----------------------------------------------------------------------------

    def _pool(self, function: TracedFunction) -> SimPool:
        check_room(function, self.node)
        pool = SimPool(function, self.policy.sizer(), PoolPlan(), self.node.max_runners)
        pool.set_base(pool.base, 0.0)
        return pool

    def _replan(self, pool: SimPool, now: float, *, look: bool = True) -> None:
        plan = pool.sizer.plan(pool.view(now))
        pool.replan_at = now + _TICK_S
        pool.again_at = math.inf if plan.again_s is None else now + plan.again_s
        if plan is not pool.plan:
            pool.plan = plan
            pool.most = math.inf if plan.max_runners is None else plan.max_runners
            pool.look_after_s = _LATER_S
            if plan.level_at(0.0) is Level.WARM:
                pool.look_after_s = min(plan.keep_s, plan.next_change_s(0.0))
            if look:
                self._look(pool, now)
        if look:
            self._look(pool, pool.again_at)

    def _tend(self, pool: SimPool, now: float) -> None:
        """Bring the pool to its plan, and note when to look again."""
        if pool.again_at <= now:
            self._replan(pool, now, look=False)
        plan = pool.plan
        quiet_s = pool.quiet_for(now)
        wanted = plan.wanted(pool.busy, quiet_s)
        idle = pool.idle
        total = len(idle) + pool.busy + pool.starting
        while total < wanted and self._start(pool, now, make_room=False):
            total += 1
        when = pool.again_at
        spare = total - pool.starting - wanted  # one that is still starting replaces none
        if idle and spare > 0:
            limit_s = plan.idle_limit_s(quiet_s)
            while idle and spare > 0 and idle[0].idle_since + limit_s <= now:
                self._stop(pool, now)
                spare -= 1
                total -= 1
            if idle and spare > 0:
                when = min(when, idle[0].idle_since + limit_s)
        if not total:
            self._follow_base(pool, now)
        if plan.spares or pool.spares:
            self._tend_spares(pool, now)
        if not pool.in_flight:
            when = min(when, now + plan.next_change_s(quiet_s) + _LATER_S)
            if plan.buffer and quiet_s < plan.active_s:
                when = min(when, pool.quiet_since + plan.active_s + _LATER_S)
        if when < pool.tend_at:
            self._look(pool, max(when, now + _LATER_S))

    # ---- what is held below the runners ----------------------------------------------------

    def _base_wanted(self, pool: SimPool, now: float) -> Level:
        level = pool.plan.base
        if pool.quiet_since == -math.inf and not pool.in_flight:
            return pool.base  # never used: nothing is made ready
        if not pool.total() and not pool.in_flight:
            resting = pool.plan.level_at(pool.quiet_for(now))
            level = level if resting is Level.WARM else resting
        return pool.lowered(level)

    def _follow_base(self, pool: SimPool, now: float) -> None:
        """Of a pool without runners: give up at once what is not wanted; make ready what is."""
        wanted = self._base_wanted(pool, now)
        if wanted is pool.base or pool.raising is wanted:
            return
        here, there = pool.figures[pool.base], pool.figures[wanted]
        if there.start_s >= here.start_s:
            self._rebase(pool, wanted, now)
            return
        pool.raising = wanted
        self._push(now + here.start_s - there.start_s, _RAISED, pool, None)

    def _rebase(self, pool: SimPool, level: Level, now: float) -> None:
        """Hold that level below the runners, if there is room for it."""
        more = pool.bytes_at(level, runners=pool.total() > 0) - pool.base_bytes
        if more > 0:
            if self.used + more > self.node.memory_bytes:
                return
            pool.cpu_s += max(0.0, pool.figures[pool.base].cpu_s - pool.figures[level].cpu_s)
        self._hold(pool.set_base(level, now))
        if pool.plan.spares or pool.spares:
            self._tend_spares(pool, now)

    def _tend_spares(self, pool: SimPool, now: float) -> None:
        """Let spares go that are not wanted; fork missing ones when starts pause."""
        wanted = max(pool.spares_wanted(now), pool.forking)
        if pool.spares > wanted:
            self._hold(pool.set_spares(wanted, now))
        elif pool.spares < wanted and not pool.forking and pool.refill_latest == math.inf:
            self._push(pool.miss_spares(now), _REFILL, pool, None)

    def _refill(self, pool: SimPool, now: float) -> None:
        """Fork the missing spares that there is memory for, in one order."""
        if now < pool.refill_at():
            self._push(pool.refill_at(), _REFILL, pool, None)
            return
        self._hold(pool.fork_spares(now, self.node.memory_bytes - self.used))
        if pool.forking:
            took_s = pool.forking * pool.figures[pool.base].start_s
            self._push(now + took_s, _FORKED, pool, None)

    def _hold(self, more: float) -> None:
        self.used += more
        self.peak_used = max(self.peak_used, self.used)

    # ---- runners ---------------------------------------------------------------------------

    def _start_for_waiting(self, pool: SimPool, now: float) -> None:
        """Start runners for inputs that wait, when the plan's patience with them is over."""
        missing, look_at = pool.missing(now, paced=self.node.paced)
        if look_at < pool.patience_at:
            pool.patience_at = look_at
            self._push(look_at, _PATIENCE, pool, None)
        while missing > 0 and pool.total() < pool.most:
            if not self._start(pool, now, make_room=True):
                if not pool.starved:
                    pool.starved = True
                    self._starved.append(pool)
                return
            missing -= 1

    def _start(self, pool: SimPool, now: float, *, make_room: bool) -> bool:
        """Begin the start of a runner from what is held; False where memory is short."""
        spare = pool.spare_waits()
        more = float(pool.runner_bytes - spare * pool.spare_bytes)
        if not pool.total():
            more += pool.bytes_at(pool.base, runners=True) - pool.base_bytes
        short = self.used + more > self.node.memory_bytes or self.runners >= self.node.max_runners
        if short and not (make_room and self._make_room(more, pool, now)):
            return False
        level = Level.SPARE if spare else pool.base
        figures = pool.figures[level]
        runner = SimRunner(now, level.strategy, now)
        pool.starting += 1
        pool.started += 1
        pool.started_at = now
        self.runners += 1
        pool.cpu_s += figures.cpu_s
        self._hold(pool.runner_bytes)
        if pool.total() == 1:
            self._hold(pool.set_base(pool.base, now))
        self._push(now + figures.start_s, _READY, pool, runner)
        if spare:
            self._hold(pool.set_spares(pool.spares - 1, now))
            self._tend_spares(pool, now)
        return True

    def _stop(self, pool: SimPool, now: float) -> None:
        """End the runner that has been idle longest."""
        runner = pool.idle.popleft()
        pool.idle_s += now - runner.idle_since
        pool.runner_s += now - runner.born
        self.used -= pool.runner_bytes
        self.runners -= 1
        if not pool.total():
            self._hold(pool.set_base(pool.base, now))
            self._follow_base(pool, now)
        if self._starved:
            self._feed(now)

    def _feed(self, now: float) -> None:
        """Try again to start runners where memory was short, in the order in which it was."""
        for _ in range(len(self._starved)):
            pool = self._starved.popleft()
            pool.starved = False
            self._start_for_waiting(pool, now)
            if pool.starved:
                return

    def _make_room(self, more: float, for_pool: SimPool, now: float) -> bool:
        """Give up what has the lowest priority until a runner and ``more`` bytes have room."""
        node = self.node
        found: Sequence[Candidate] = sim_pools.candidates(self.pools, for_pool, now)
        frees = sum(candidate.frees for candidate in found)
        stops = any(candidate.level is Level.WARM for candidate in found)
        if self.used + more - frees > node.memory_bytes or (
            self.runners >= node.max_runners and not stops
        ):
            return False
        starved, self._starved = self._starved, deque()  # what is freed has been asked for
        try:
            for candidate in found:
                crowded = self.runners >= node.max_runners
                if self.used + more <= node.memory_bytes and not crowded:
                    break
                if crowded and candidate.level is not Level.WARM:
                    continue
                self._give_up(candidate, now)
        finally:
            self._starved = starved
        return self.used + more <= node.memory_bytes and self.runners < node.max_runners

    def _give_up(self, candidate: Candidate, now: float) -> None:
        pool = candidate.pool
        self.policy.evicted(candidate.priority)
        pool.evicted += 1
        if candidate.level is Level.SPARE:
            self._hold(pool.give_up_spares(now))
        elif candidate.level is not Level.WARM:
            self._rebase(pool, pool.lowered(Level.DISK), now)
        elif pool.idle:
            self._stop(pool, now)
