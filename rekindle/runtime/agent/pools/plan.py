"""How a pool follows its plan (wire/pools.py): runners wanted, idle ones to stop, where to rest.

Knows nothing of processes or of the controller: a pool tells how many runners are busy, and asks.
Until the controller has sent a plan, the function's own settings are the plan.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from rekindle.wire.pools import Level, PoolPlan, Rest
from rekindle.wire.spec import FunctionSpec


class Idler(Protocol):
    """What is looked at in an idle runner."""

    @property
    def idle_since(self) -> float: ...


IdlerT = TypeVar("IdlerT", bound=Idler)


def declared_plan(spec: FunctionSpec) -> PoolPlan:
    """What a function's decorator asks for, and no policy: the window, and a template once there.

    BOOTED is kept and never made in advance (idle_levels.py): a template stays from its first
    start on.
    """
    return PoolPlan(
        runners=spec.min_containers,
        buffer=spec.buffer_containers,
        keep_s=spec.scaledown_window_s,
        max_runners=spec.max_containers,
        base=Level.BOOTED,
        rest=(Rest(Level.WARM, spec.scaledown_window_s), Rest(Level.BOOTED)),
        why=f"idle runners are kept for {spec.scaledown_window_s:g} s",
    )


@dataclass
class Sizing:
    """The plan in force for one pool, and for how long nothing has run or waited there."""

    plan: PoolPlan
    #: Whether it was sent by the controller.
    ordered: bool = False
    #: When the quiet time began (monotonic seconds); meaningless while active.
    quiet_since: float = field(default_factory=time.monotonic)
    active: bool = False
    #: Whether an input was ever here: a buffer is held by pools that are used.
    used: bool = False
    #: An idle runner went for lack of memory: none is started in advance until an input comes.
    given_up: bool = False

    def order(self, plan: PoolPlan) -> None:
        """Follow another plan from now on."""
        self.plan, self.ordered = plan, True

    def see(self, active: bool) -> None:
        """Told whenever it may have changed: whether an input runs or waits."""
        if active:
            self.used, self.given_up = True, False
        elif self.active:
            self.quiet_since = time.monotonic()
        self.active = active

    def quiet_s(self) -> float:
        """For how long no input has run or waited; 0 while one does."""
        return 0.0 if self.active else max(1e-9, time.monotonic() - self.quiet_since)

    @property
    def limit(self) -> int:
        """Runners at most."""
        return 1 << 30 if self.plan.max_runners is None else self.plan.max_runners

    def wanted(self, busy: int) -> int:
        """Runners to have now, busy ones included.

        A pool that has not been used keeps nothing warm *from its last input on*: no buffer, and
        no runner for the first step of its rest. What a plan asks for later than that, it gets.
        """
        quiet_s = self.quiet_s()
        if self.given_up or (not self.used and quiet_s < self._first_step_s()):
            return min(max(self.plan.runners, busy), self.limit)
        return self.plan.wanted(busy, quiet_s if self.used else max(quiet_s, self.plan.active_s))

    def _first_step_s(self) -> float:
        rest = self.plan.rest
        return rest[0].for_s if rest and rest[0].level is Level.WARM else 0.0

    def surplus(self, idle: Iterable[IdlerT], busy: int, now: float) -> list[IdlerT]:
        """Idle runners to stop: those over the limit at once, others when their time is over."""
        oldest_first = sorted(idle, key=lambda runner: runner.idle_since)
        spare = max(0, len(oldest_first) + busy - self.wanted(busy))
        over = max(0, len(oldest_first) + busy - self.limit)
        limit_s = self.plan.idle_limit_s(self.quiet_s())
        return [
            runner
            for i, runner in enumerate(oldest_first[:spare])
            if i < over or now - runner.idle_since >= limit_s
        ]

    def level(self, runners: int) -> Level:
        """What to hold below the runners now; beside any that is there it is the base."""
        if self.active or runners:
            return self.plan.base
        level = self.plan.level_at(self.quiet_s())
        return self.plan.base if level is Level.WARM else level
