"""How a pool follows its plan (wire/pools.py): runners wanted, idle ones to stop, where to rest.

Knows nothing of processes or of the controller: a pool says how many runners are busy, and asks.
Until the controller has sent a plan, the function's own settings are the plan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from rekindle.runtime.agent.pools.agenda import PoolKey
from rekindle.wire.pools import SPARES, Level, PoolPlan, Rest
from rekindle.wire.spec import FunctionSpec


class Idler(Protocol):
    """What is looked at in an idle runner."""

    @property
    def idle_since(self) -> float: ...


IdlerT = TypeVar("IdlerT", bound=Idler)

#: In place of the digest of an instance's parameters.
EVERY = "*"


def declared_plan(spec: FunctionSpec) -> PoolPlan:
    """What a function's decorator asks for, and no policy: the window, and a template once there.

    Its template is kept and not made in advance (idle_levels.py): it stays from its first start
    on, and its spares with it. Only for a number of spares that is declared it is made before.
    """
    spares = SPARES if spec.spare_containers is None else spec.spare_containers
    if spec.max_containers is not None:
        spares = min(spares, spec.max_containers)
    return PoolPlan(
        runners=spec.min_containers,
        buffer=spec.buffer_containers,
        keep_s=spec.scaledown_window_s,
        max_runners=spec.max_containers,
        base=Level.SPARE if spares else Level.BOOTED,
        spares=spares,
        ahead=bool(spec.spare_containers),
        rest=(
            Rest(Level.WARM, spec.scaledown_window_s),
            Rest(Level.SPARE if spares else Level.BOOTED),
        ),
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
    #: Its spares went for lack of memory: none is forked until an input comes.
    spares_given_up: bool = False
    _works: bool = False
    _worked_at: float = 0.0

    def order(self, plan: PoolPlan) -> None:
        """Follow another plan from now on."""
        self.plan, self.ordered = plan, True

    def see(self, works: bool, *, lent: bool = False) -> None:
        """Note whether an input runs or waits, or a client has a runner, which it may not call."""
        if works or self._works:
            self._worked_at = time.monotonic()
        if works or lent:
            self.used, self.given_up, self.spares_given_up = True, False, False
        elif self.active:
            self.quiet_since = self._worked_at
        self._works, self.active = works, works or lent

    def called(self, at: float) -> None:
        """A client called one of the runners directly, last at this time (monotonic seconds)."""
        self._worked_at = max(self._worked_at, at)

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
        """What to hold below the runners now; with any that is there it is the base."""
        if self.active or runners:
            return self.plan.base
        level = self.plan.level_at(self.quiet_s())
        return self.plan.base if level is Level.WARM else level


@dataclass
class Plans:
    """The plans that the controller has sent, by function and parameters.

    A plan may come before its pool: it waits here. A plan for one instance of a class goes before
    the plan for every instance.
    """

    _of: dict[PoolKey, PoolPlan] = field(default_factory=dict)

    def keep(self, key: PoolKey, plan: PoolPlan) -> None:
        """Take in a plan; with EVERY for all pools of the function without one."""
        self._of[key] = plan

    def find(self, key: PoolKey) -> PoolPlan | None:
        """The plan of a pool; None when none was sent."""
        plan = self._of.get(key)
        return self._of.get((key[0], EVERY)) if plan is None else plan

    def drop(self, key: PoolKey) -> None:
        """A pool has no plan of its own any more: it follows that of every instance."""
        self._of.pop(key, None)

    def forget(self, is_gone: Callable[[str], bool]) -> None:
        """Drop the plans of functions that are gone, by their ids.

        Every node is sent the plans of every function, also of those that it has no pool of.
        """
        for key in [key for key in self._of if is_gone(key[0])]:
            del self._of[key]
