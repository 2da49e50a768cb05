"""The state of one simulated pool, and what it has held and started so far.

The counterpart of the agent's pool: runners, inputs that wait, what is held below the runners. It
moves only when the simulator tells it to; it knows neither the heap of events nor other pools.
"""

from __future__ import annotations

import math
from array import array
from collections import deque

from rekindle.bench.tune.trace import TracedFunction
from rekindle.controller.policies.policy import Sizer, bottom
from rekindle.wire.phases import Strategy
from rekindle.wire.pools import Figures, Level, PoolPlan

_NOTHING = Figures(start_s=0.0)


class SimRunner:
    """A runner: idle since a time, or with an input."""

    __slots__ = ("born", "idle_since", "pool", "service", "strategy")

    def __init__(self, pool: SimPool, born: float, strategy: Strategy) -> None:
        self.pool = pool
        self.born = born
        self.strategy = strategy
        self.idle_since = born
        self.service = 0.0  # of the input that it has


class SimPool:
    """One pool; times are seconds of the trace."""

    __slots__ = (
        "again_at",
        "arrived",
        "base",
        "base_bytes",
        "base_idle_s",
        "base_memory_s",
        "base_since",
        "busy",
        "cpu_s",
        "demand_at",
        "demand_s",
        "disk_s",
        "ended",
        "ended_s",
        "evicted",
        "figures",
        "function",
        "idle",
        "idle_s",
        "in_flight",
        "index",
        "look_after_s",
        "most",
        "patience_at",
        "plan",
        "progress_at",
        "quiet_since",
        "raising",
        "replan_at",
        "runner_bytes",
        "runner_s",
        "sizer",
        "started",
        "starting",
        "starts",
        "starved",
        "tend_at",
        "waiting",
        "waits",
        "warm",
    )

    def __init__(self, index: int, function: TracedFunction, sizer: Sizer, plan: PoolPlan) -> None:
        self.index = index
        self.function = function
        self.figures = function.levels
        self.sizer = sizer
        self.arrived = sizer.arrived
        self.plan = plan
        self.most = math.inf if plan.max_runners is None else plan.max_runners
        # Runners: idle ones in the order in which they became idle; the newest is used first.
        self.idle: deque[SimRunner] = deque()
        self.busy = 0
        self.starting = 0
        self.started = 0
        self.waiting: deque[tuple[float, float]] = deque()  # (arrived, runs for)
        self.in_flight = 0
        self.starved = False
        self.quiet_since = -math.inf  # nothing has ever run
        # What is held below the runners. The revision is not new: what it can have is on disk.
        self.base = bottom(function.levels)
        self.base_bytes = 0
        self.base_since = 0.0
        self.raising: Level | None = None
        # When to look again.
        self.replan_at = -math.inf
        self.again_at = math.inf
        self.tend_at = math.inf
        self.look_after_s = math.inf
        self.patience_at = math.inf
        self.progress_at = 0.0  # a runner took an input, or ended one
        # What came of it.
        self.runner_bytes = function.levels[Level.WARM].memory_bytes
        self.warm = 0
        self.starts = dict.fromkeys((Strategy.FORK, Strategy.RESTORE, Strategy.COLD), 0)
        self.waits = array("d")  # of those inputs that waited at all
        self.ended = 0  # inputs, and how long they ran
        self.ended_s = 0.0
        self.demand_s = 0.0
        self.demand_at = 0.0
        self.runner_s = 0.0  # runners' lives, from the beginning of their start
        self.idle_s = 0.0
        self.base_memory_s = 0.0  # byte-seconds
        self.base_idle_s = 0.0  # of it while nothing ran
        self.disk_s = 0.0
        self.cpu_s = 0.0
        self.evicted = 0

    def total(self) -> int:
        """Runners there are or will be."""
        return len(self.idle) + self.busy + self.starting

    def quiet_for(self, now: float) -> float:
        """How long nothing has run or waited; 0 while something does, and only then."""
        return 0.0 if self.in_flight else max(now - self.quiet_since, 1e-9)

    def lowered(self, level: Level) -> Level:
        """That level, or the best one below it that this function can be held at."""
        return level if level in self.figures else self._lowered(level)

    def _lowered(self, level: Level) -> Level:
        order = (Level.BOOTED, Level.MAPPED, Level.CACHED, Level.DISK, Level.NONE)
        place = order.index(level)
        return next((low for low in order[place:] if low in self.figures), Level.NONE)

    def bytes_at(self, level: Level, *, runners: bool) -> int:
        """Memory below the runners at a level; runners that map a snapshot keep it cached."""
        held = self.figures.get(level, _NOTHING).memory_bytes
        if runners and Level.CACHED in self.figures:
            held = max(held, self.figures[Level.CACHED].memory_bytes)
        return held

    def settle(self, now: float) -> None:
        """Account for what has been held below the runners until now."""
        held_for = now - self.base_since
        if held_for > 0.0:
            self.base_memory_s += self.base_bytes * held_for
            if not self.in_flight:
                self.base_idle_s += self.base_bytes * (now - max(self.base_since, self.quiet_since))
            self.disk_s += self.figures.get(self.base, _NOTHING).disk_bytes * held_for
        self.base_since = now

    def set_base(self, level: Level, now: float) -> int:
        """Hold that level from now on; how many bytes more that is."""
        self.settle(now)
        was = self.base_bytes
        self.base = level
        self.base_bytes = self.bytes_at(level, runners=self.total() > 0)
        return self.base_bytes - was

    def wake(self, now: float) -> None:
        """An input has arrived after a quiet time."""
        self.progress_at = now
        if self.base_bytes:
            self.settle(now)

    def worth(self, now: float, start_s: float) -> int:
        """Runners that the inputs which wait are worth: each has a start's time of work.

        An input takes what others took, or as long as one has been running without an end.
        """
        waiting = len(self.waiting)
        if not self.ended:
            return waiting
        mean_s = self.ended_s / self.ended
        stuck_s = now - self.progress_at if self.busy else 0.0
        return min(waiting, int(waiting * max(mean_s, stuck_s) / start_s + 1e-9))

    def counted(self) -> int:
        """Inputs that began to run."""
        return self.warm + sum(self.starts.values())
