"""How a pool follows its plan (wire/pools.py): runners wanted, idle ones to stop, where to rest.

Knows nothing of processes or of the controller: a pool tells how many runners are busy, and asks.
Until the controller has sent a plan, the function's own settings are the plan.
"""

from __future__ import annotations

import dataclasses
import math
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

    BOOTED is kept and never made in advance (resting.py), so a template stays from its first start.
    """
    return PoolPlan(
        runners=spec.min_containers,
        buffer=spec.buffer_containers,
        keep_s=spec.scaledown_window_s,
        max_runners=spec.max_containers,
        base=Level.BOOTED,
        rest=(Rest(Level.BOOTED),),
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

    def order(self, plan: PoolPlan) -> None:
        """Follow another plan from now on."""
        self.plan, self.ordered = plan, True

    def see(self, active: bool) -> None:
        """Told whenever it may have changed: whether an input runs or waits."""
        if active:
            self.used = True
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
        """Runners to have now, busy ones included."""
        plan = self.plan
        if plan.buffer and not self.used:
            plan = dataclasses.replace(plan, buffer=0)
        return plan.wanted(busy, self.quiet_s())

    def surplus(self, idle: Iterable[IdlerT], busy: int, now: float) -> list[IdlerT]:
        """Idle runners to stop: those over the limit at once, others when their time is over."""
        oldest_first = sorted(idle, key=lambda runner: runner.idle_since)
        spare = max(0, len(oldest_first) + busy - self.wanted(busy))
        over = max(0, len(oldest_first) + busy - self.limit)
        return [
            runner
            for i, runner in enumerate(oldest_first[:spare])
            if i < over or now - runner.idle_since >= self.plan.keep_s
        ]

    def level(self) -> Level:
        """What to hold below runners now. Beside runners that are kept it is the base."""
        if self.active:
            return self.plan.base
        level = self.plan.level_at(self.quiet_s())
        return self.plan.base if level is Level.WARM else level

    def next_change_s(self) -> float:
        """How long until the plan, by itself, asks for something else; inf for never."""
        if self.active:
            return math.inf
        quiet = self.quiet_s()
        changes = [self.plan.next_change_s(quiet)]
        if self.plan.buffer and quiet < self.plan.active_s:
            changes.append(self.plan.active_s - quiet)
        return min(changes)
