"""What a sizing policy is, and what it may look at.

A policy says what a node holds for each pool. It is pure: no clock of its own, no input or output;
whoever runs it (the controller, the simulator) reports what happens and asks for plans. What
happens at every input must cost about a microsecond, so a pool's sizer only counts there; plans are
made a few times a minute. Knows nothing of Redis, agents or traces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rekindle.wire.pools import SPARES, Figures, Level, PoolPlan, Rest, template_of

GIB = 1024.0**3


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """What the user has set for a function (docs/sdk.md)."""

    min_containers: int = 0
    max_containers: int | None = None
    buffer_containers: int = 0
    spare_containers: int | None = None  # None: the policy decides
    scaledown_window_s: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What is paid for what is held; any currency.

    The defaults are the published prices of AWS Fargate (Linux, x86, us-east-1) for memory and CPU,
    and two dollars for an hour of an A100. Disk is taken to be there anyway: 0.08 / 730 would be
    that of AWS's gp3 volumes.
    ``waiting_hour`` is what an hour of callers waiting is worth, to weigh waiting against holding;
    it is not a part of any cost that is shown.
    """

    gib_hour: float = 0.004445
    gpu_hour: float = 2.0
    cpu_hour: float = 0.04048
    disk_gib_hour: float = 0.0
    waiting_hour: float = 1.0

    def holding(self, memory_bytes: float, disk_bytes: float = 0.0, gpus: float = 0.0) -> float:
        """The price of holding that for a second."""
        memory = memory_bytes / GIB * self.gib_hour
        return (memory + disk_bytes / GIB * self.disk_gib_hour + gpus * self.gpu_hour) / 3600


@dataclass(slots=True, kw_only=True)
class PoolView:
    """One pool at one moment, as a policy sees it."""

    now: float  # seconds on any clock that never runs backwards; the same as of arrived()
    settings: PoolSettings
    #: The levels that this function can be held at, with what was measured; WARM and NONE are
    #: always there. Without a snapshot there is no MAPPED, CACHED or DISK; without a template that
    #: can be forked no SPARE.
    levels: Mapping[Level, Figures]
    busy: int = 0  # runners that have an input
    idle: int = 0
    starting: int = 0
    queued: int = 0
    service_s: float = 0.0  # mean time that an input runs; 0 is not known yet
    #: Input-seconds spent running or waiting since the pool was made: its growth over a time is
    #: the mean number of inputs in flight.
    demand_s: float = 0.0
    started: int = 0  # runners that were started since the pool was made


class Sizer(Protocol):
    """One pool's part of a policy. Those that inherit it learn nothing from what they leave out."""

    def arrived(self, now: float) -> None:
        """An input has arrived. Called for every one: counts, and no more."""
        return

    def quiet(self, now: float) -> None:
        """The last input of the pool has ended: nothing runs or waits. Counts, and no more."""
        return

    def plan(self, view: PoolView) -> PoolPlan:
        """What to hold from now on. The same object again means that nothing changes."""


class Policy(Protocol):
    """A way to size the pools of a node. Those that inherit it learn nothing from evictions."""

    def sizer(self) -> Sizer:
        """The part for one more pool."""

    def evicted(self, priority: float) -> None:
        """A node that was short of memory gave up something of this priority."""
        return


def bottom(levels: Mapping[Level, Figures]) -> Level:
    """Where a function rests that holds no memory: its snapshot on disk, if it has one."""
    return Level.DISK if Level.DISK in levels else Level.NONE


def usual_spares(levels: Mapping[Level, Figures]) -> int:
    """Spares for a burst of a few, that together take no more memory than their template does."""
    spare, template = levels.get(Level.SPARE), template_of(levels)
    if spare is None or template is None:  # not measured yet
        return SPARES
    return min(SPARES, template.memory_bytes // max(1, spare.memory_bytes))


def plan_of(
    view: PoolView,
    *,
    keep_s: float,
    rest: tuple[Rest, ...] = (),
    base: Level | None = None,
    runners: int = 0,
    buffer: int = 0,
    spares: int | None = None,
    ahead: bool = True,
    patience_s: float = 0.0,
    priority: Mapping[Level, float] | None = None,
    again_s: float | None = None,
    why: str = "",
) -> PoolPlan:
    """A plan within the user's settings: never less than min, never more than max.

    Without ``rest``, one runner is kept for ``keep_s`` too, and then what costs no memory.
    ``spares`` wait where ``base`` or ``rest`` say SPARE (None: the usual number). A number that the
    user has set takes their place: they wait however quiet it is, and none is another level.
    """
    settings = view.settings
    runners = max(runners, settings.min_containers)
    if settings.max_containers is not None:
        runners = min(runners, settings.max_containers)
    low = bottom(view.levels)
    if not rest:
        rest = (Rest(Level.WARM, keep_s), Rest(low)) if keep_s > 0 else (Rest(low),)
    base = base or low
    if settings.spare_containers is not None:
        spares = settings.spare_containers
        if spares:
            base, rest, ahead = Level.SPARE, _at_least_spare(rest), True
    elif spares is None:
        spares = usual_spares(view.levels)
    if settings.max_containers is not None:
        spares = min(spares, settings.max_containers)
    if not spares:
        base, rest = _without_spares(base), tuple(_less(step) for step in rest)
    elif Level.SPARE is not base and all(step.level is not Level.SPARE for step in rest):
        spares = 0
    return PoolPlan(
        runners=runners,
        buffer=max(buffer, settings.buffer_containers),
        keep_s=keep_s,
        max_runners=settings.max_containers,
        patience_s=patience_s,
        base=base,
        rest=rest,
        spares=spares,
        ahead=ahead and spares > 0,
        priority=priority or {},
        again_s=again_s,
        why=why,
    )


def _at_least_spare(rest: Sequence[Rest]) -> tuple[Rest, ...]:
    """The same schedule with SPARE in the place of all that is colder."""
    made: list[Rest] = []
    for step in rest:
        level = step.level if step.level is Level.WARM else Level.SPARE
        if made and made[-1].level is level:
            made[-1] = Rest(level, made[-1].for_s + step.for_s)
        else:
            made.append(Rest(level, step.for_s))
    return tuple(made)


def _without_spares(level: Level) -> Level:
    """BOOTED is any live template."""
    return Level.BOOTED if level is Level.SPARE else level


def _less(step: Rest) -> Rest:
    level = _without_spares(step.level)
    return step if level is step.level else Rest(level, step.for_s)
