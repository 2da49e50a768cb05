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
from rekindle.controller.policies.policy import PoolView, Sizer, bottom
from rekindle.exception import InvalidError
from rekindle.wire.phases import Strategy
from rekindle.wire.pools import Figures, Level, PoolPlan

_NOTHING = Figures(start_s=0.0)
_TEMPLATES = (Level.BOOTED, Level.MAPPED)
#: As the agent does (runtime/agent/scheduling/spare_keeper.py): spares are forked once nothing was
#: started for so long, and after the second in any case.
_PAUSE_S, _LATEST_S = 0.01, 0.5
#: Spares that were given up are not forked again before this, in seconds.
_NOT_AGAIN_S = 30.0
#: Work that is worth a runner, where a start takes less.
_SLICE_S = 0.005
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
    most_spares: float = math.inf  # as many as its node may have runners
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
    spares: int = 0  # that wait, or are being forked
    forking: int = 0  # of them
    refill_latest: float = math.inf  # missing ones are forked then at the latest
    started_at: float = -math.inf  # the last runner was ordered
    no_spares_before: float = -math.inf
    # When to look again.
    replan_at: float = -math.inf
    again_at: float = math.inf
    tend_at: float = math.inf
    look_after_s: float = math.inf
    patience_at: float = math.inf
    progress_at: float = 0.0  # a runner took an input, or ended one
    # What came of it.
    runner_bytes: int = field(init=False)
    spare_bytes: int = field(init=False)
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
    spare_s: float = 0.0  # the same of spares
    spare_idle_s: float = 0.0
    disk_s: float = 0.0
    cpu_s: float = 0.0
    evicted: int = 0

    def __post_init__(self) -> None:
        self.figures = self.function.levels
        self.arrived = self.sizer.arrived
        self.most = math.inf if self.plan.max_runners is None else self.plan.max_runners
        self.base = bottom(self.figures)
        self.runner_bytes = self.figures[Level.WARM].memory_bytes
        self.spare_bytes = self.figures.get(Level.SPARE, _NOTHING).memory_bytes

    def total(self) -> int:
        """Runners there are or will be."""
        return len(self.idle) + self.busy + self.starting

    def quiet_for(self, now: float) -> float:
        """How long nothing has run or waited; 0 while something does, and only then."""
        return 0.0 if self.in_flight else max(now - self.quiet_since, 1e-9)

    def lowered(self, level: Level) -> Level:
        """That level, or the best one below it that this function can be held at.

        Of SPARE it is the template; its spares are counted beside it.
        """
        if level is Level.SPARE:
            level = Level.MAPPED if Level.MAPPED in self.figures else Level.BOOTED
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
            idle_for = 0.0 if self.in_flight else now - max(self.base_since, self.quiet_since)
            self.base_idle_s += self.base_bytes * idle_for
            if self.spares:
                spares = self.spares * self.spare_bytes
                self.spare_s += spares * held_for
                self.spare_idle_s += spares * idle_for
            self.disk_s += self.figures.get(self.base, _NOTHING).disk_bytes * held_for
        self.base_since = now

    def close(self, end: float) -> None:
        """The trace is over: account for what is held."""
        self.settle(end)
        self.idle_s += sum(end - runner.idle_since for runner in self.idle)
        self.runner_s += sum(end - runner.born for runner in self.idle)

    def set_base(self, level: Level, now: float) -> int:
        """Hold that level from now on; how many bytes more that is."""
        self.settle(now)
        was = self.base_bytes
        self.base = level
        self.base_bytes = self.bytes_at(level, runners=self.total() > 0)
        return self.base_bytes - was

    def spares_wanted(self, now: float) -> int:
        """Spares to have now; none without a template."""
        plan = self.plan
        if not plan.spares or Level.SPARE not in self.figures or self.base not in _TEMPLATES:
            return 0
        level = plan.base
        if not self.in_flight and not self.total():
            resting = plan.level_at(self.quiet_for(now))
            level = level if resting is Level.WARM else resting
        if level is not Level.SPARE or now < self.no_spares_before:
            return 0
        return int(min(plan.spares, self.most_spares))

    def set_spares(self, count: int, now: float) -> int:
        """Have so many spares from now on; how many bytes more that is."""
        self.settle(now)
        more = (count - self.spares) * self.spare_bytes
        self.spares = count
        return more

    def spare_waits(self) -> bool:
        """Whether a start can take one."""
        return self.spares > self.forking

    def fork_spares(self, now: float, room: float) -> int:
        """Fork the missing ones that have room, one by one; how many bytes more that is."""
        self.refill_latest = math.inf
        self.forking = max(0, self.spares_wanted(now) - self.spares)
        if self.spare_bytes:
            self.forking = int(min(self.forking, max(0.0, room) / self.spare_bytes))
        self.cpu_s += self.forking * self.figures[self.base].cpu_s
        return self.set_spares(self.spares + self.forking, now)

    def give_up_spares(self, now: float) -> int:
        """Memory is short: all that wait go, for a while; how many bytes more that is."""
        self.no_spares_before = now + _NOT_AGAIN_S
        return self.set_spares(self.forking, now)

    def miss_spares(self, now: float) -> float:
        """Some are missing from now on; when to look whether it is time to fork them."""
        self.refill_latest = now + _LATEST_S
        return max(self.refill_at(), now)

    def refill_at(self) -> float:
        """When missing spares are to be forked: not next to starts, if there is a pause of them."""
        return min(self.started_at + _PAUSE_S, self.refill_latest)

    def wake(self, now: float) -> None:
        """An input has arrived after a quiet time."""
        self.progress_at = now
        if self.base_bytes:
            self.settle(now)

    def view(self, now: float) -> PoolView:
        """As its policy sees it."""
        return PoolView(
            now=now,
            settings=self.function.settings,
            levels=self.figures,
            busy=self.busy,
            idle=len(self.idle),
            starting=self.starting,
            queued=len(self.waiting),
            service_s=self.ended_s / self.ended if self.ended else 0.0,
            demand_s=self.demand_s + self.in_flight * (now - self.demand_at),
            started=self.started,
        )

    def missing(self, now: float, *, paced: bool) -> tuple[int, float]:
        """Runners to start for inputs that wait, and when to look again; inf for never."""
        waiting, patience = self.waiting, self.plan.patience_s
        missing = len(waiting) - self.starting
        look_at = math.inf
        if waiting and (self.busy or self.starting):
            if patience > 0.0:
                late = 0
                for arrived, _ in waiting:
                    if arrived + patience > now:
                        look_at = arrived + patience
                        break
                    late += 1
                missing = late - self.starting
            if paced and missing > 0:
                start_s = max(self.figures[self.base].start_s, _SLICE_S)
                missing = self.worth(now, start_s) - self.starting
                stuck_at = self.progress_at + start_s
                look_at = min(look_at, stuck_at if stuck_at > now else now + start_s)
        elif paced and waiting:
            missing = max(1, self.worth(now, max(self.figures[self.base].start_s, 1e-3)))
        return missing, look_at

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


def check_room(function: TracedFunction, node: Node) -> None:
    """Raise InvalidError where a node cannot have a runner of a function at any level."""
    below = [f.memory_bytes for level, f in function.levels.items() if level is not Level.WARM]
    least = function.levels[Level.WARM].memory_bytes + max(below)
    if least > node.memory_bytes:
        raise InvalidError(
            f"{function.label} needs {least / 2**30:.2f} GiB for one runner, the node has "
            f"{node.memory_bytes / 2**30:.2f} GiB: give it more (--memory-gib)"
        )


class Candidate(NamedTuple):
    """An idle runner (WARM), the spares of a pool, or what is held below the runners of one."""

    priority: float
    idle_since: float
    frees: float
    level: Level
    pool: SimPool


def candidates(pools: Iterable[SimPool], but: SimPool, now: float) -> list[Candidate]:
    """All that may go, in the order in which it should; never what ``min_containers`` asks for.

    What lies below idle runners goes after them, a template after its spares.
    """
    found: list[Candidate] = []
    for pool in pools:
        plan = pool.plan
        if pool.spare_waits() and pool is not but:
            priority = min(plan.priority_of(Level.SPARE), plan.priority_of(pool.base))
            since = now if pool.total() else pool.quiet_since
            frees = (pool.spares - pool.forking) * pool.spare_bytes
            found.append(Candidate(priority, since, frees, Level.SPARE, pool))
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
