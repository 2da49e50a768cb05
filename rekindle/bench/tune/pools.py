"""The state of a simulated node: its limits, its pools, and what could be given up of them.

A pool is the counterpart of the agent's: runners, inputs that wait, what is held below the runners.
It moves only when the simulator moves it, and knows nothing of the heap of events.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rekindle.bench.tune.trace import TracedFunction
from rekindle.controller.policies.policy import Sizer, bottom
from rekindle.wire.phases import Strategy
from rekindle.wire.pools import Figures, Level, PoolPlan

_NOTHING = Figures(start_s=0.0)
_BELOW_RUNNERS = (Level.BOOTED, Level.MAPPED, Level.CACHED, Level.DISK, Level.NONE)


@dataclass(frozen=True, kw_only=True)
class Node:
    """The node that is simulated: its limits, and how it behaves whatever the policy."""

    memory_bytes: float = math.inf
    #: Runners at most, of all functions together.
    max_runners: float = math.inf
    #: As the agent does: where there are runners, one more is started only for as much work as a
    #: start takes (a slice at least), or for an input that has waited that long. Else one is
    #: started for every input that waits longer than the plan's patience.
    paced: bool = False


@dataclass(slots=True, eq=False)
class SimRunner:
    """A runner: idle since a time, or with an input."""

    born: float
    strategy: Strategy
    idle_since: float
    service: float = 0.0  # of the input that it has


@dataclass(slots=True, eq=False)
class SimPool:
    """One pool; times are seconds of the trace."""

    function: TracedFunction
    sizer: Sizer
    plan: PoolPlan
    figures: Mapping[Level, Figures] = field(init=False)
    arrived: Callable[[float], None] = field(init=False)
    most: float = field(init=False)
    # Runners: idle ones in the order in which they became idle; the newest is used first.
    idle: deque[SimRunner] = field(default_factory=deque)
    busy: int = 0
    starting: int = 0
    started: int = 0
    waiting: deque[tuple[float, float]] = field(default_factory=deque)  # (arrived, runs for)
    in_flight: int = 0
    starved: bool = False
    quiet_since: float = -math.inf  # nothing has ever run
    # What is held below the runners. The revision is not new: what it can have is on disk.
    base: Level = field(init=False)
    base_bytes: int = 0
    base_since: float = 0.0
    raising: Level | None = None
    # When to look again.
    replan_at: float = -math.inf
    again_at: float = math.inf
    tend_at: float = math.inf
    look_after_s: float = math.inf
    patience_at: float = math.inf
    progress_at: float = 0.0  # a runner took an input, or ended one
    # What came of it.
    runner_bytes: int = field(init=False)
    warm: int = 0
    starts: Counter[Strategy] = field(default_factory=Counter)
    waits: array[float] = field(default_factory=lambda: array("d"))  # of inputs that waited at all
    ended: int = 0  # inputs, and how long they ran
    ended_s: float = 0.0
    demand_s: float = 0.0
    demand_at: float = 0.0
    runner_s: float = 0.0  # runners' lives, from the beginning of their start
    idle_s: float = 0.0
    base_memory_s: float = 0.0  # byte-seconds
    base_idle_s: float = 0.0  # of it while nothing ran
    disk_s: float = 0.0
    cpu_s: float = 0.0
    evicted: int = 0

    def __post_init__(self) -> None:
        self.figures = self.function.levels
        self.arrived = self.sizer.arrived
        self.most = math.inf if self.plan.max_runners is None else self.plan.max_runners
        self.base = bottom(self.figures)
        self.runner_bytes = self.figures[Level.WARM].memory_bytes

    def total(self) -> int:
        """Runners there are or will be."""
        return len(self.idle) + self.busy + self.starting

    def quiet_for(self, now: float) -> float:
        """How long nothing has run or waited; 0 while something does, and only then."""
        return 0.0 if self.in_flight else max(now - self.quiet_since, 1e-9)

    def lowered(self, level: Level) -> Level:
        """That level, or the best one below it that this function can be held at."""
        if level in self.figures:
            return level
        lower = _BELOW_RUNNERS[_BELOW_RUNNERS.index(level) :]
        return next((low for low in lower if low in self.figures), Level.NONE)

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


class Candidate(NamedTuple):
    """An idle runner (WARM), or what is held below the runners of a pool that has none."""

    priority: float
    idle_since: float
    frees: float
    level: Level
    pool: SimPool


def candidates(pools: Iterable[SimPool], but: SimPool, now: float) -> list[Candidate]:
    """All that may go, in the order in which it should; never what ``min_containers`` asks for.

    What lies below idle runners goes after them.
    """
    found = []
    for pool in pools:
        plan = pool.plan
        if pool.idle:
            spare = pool.total() - plan.runners
            priority = plan.priority_of(Level.WARM)
            found += [
                Candidate(priority, runner.idle_since, pool.runner_bytes, Level.WARM, pool)
                for runner, _ in zip(pool.idle, range(spare), strict=False)
            ]
            all_idle = spare >= len(pool.idle) == pool.total()
            if all_idle and pool.base_bytes and pool is not but:
                # Not before its runners: they map it.
                later = max(priority, plan.priority_of(pool.base))
                found.append(Candidate(later, now, pool.base_bytes, pool.base, pool))
        elif not pool.total() and pool.base_bytes and pool is not but:
            priority = plan.priority_of(pool.base)
            found.append(Candidate(priority, pool.quiet_since, pool.base_bytes, pool.base, pool))
    found.sort(key=lambda candidate: candidate[:2])
    return found
