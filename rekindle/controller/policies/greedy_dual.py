"""``greedy-dual``: runners are kept until memory is short; then the least valuable goes.

From Fuerst and Sharma, "FaasCache: Retention Serverless Computing Alive with Greedy-Dual Caching",
ASPLOS 2021: keeping a function alive is caching an object, so Greedy-Dual-Size-Frequency applies.

    priority = clock + frequency * cost / size

``frequency`` counts the function's inputs since its last cold runner, ``cost`` is the time of the
start that keeping it saves, ``size`` its memory. The clock is the node's: it rises to the priority
of what was evicted last, so what has not been used for long sinks below what is new.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rekindle.controller.policies.policy import Policy, PoolView, Sizer, bottom, plan_of
from rekindle.wire.pools import Level, PoolPlan

_MIB = 1024.0**2


@dataclass(slots=True)
class Clock:
    """A node's clock: the priority of what was evicted last."""

    value: float = 0.0


@dataclass(frozen=True, kw_only=True)
class GreedyDual(Policy):
    """No parameters: the node's memory is its only one."""

    clock: Clock = field(default_factory=Clock, init=False, compare=False)

    def sizer(self) -> GreedyDualSizer:
        """The part for one more pool."""
        return GreedyDualSizer(self.clock)

    def evicted(self, priority: float) -> None:
        """The clock rises to it."""
        self.clock.value = max(self.clock.value, priority)


@dataclass(slots=True)
class GreedyDualSizer(Sizer):
    """One pool's frequency."""

    clock: Clock
    frequency: int = 0

    def arrived(self, now: float) -> None:
        """One more use."""
        self.frequency += 1

    def plan(self, view: PoolView) -> PoolPlan:
        """Keep everything; the priority says what may go."""
        if not view.idle and not view.busy and not view.starting:
            self.frequency = min(self.frequency, 1)
        saved_s = view.levels[bottom(view.levels)].start_s
        size = max(view.levels[Level.WARM].memory_bytes / _MIB, 1e-3)
        priority = self.clock.value + self.frequency * saved_s / size
        return plan_of(
            view,
            keep_s=float("inf"),
            priority=dict.fromkeys(view.levels, priority),
            why=f"kept until memory is short; {self.frequency} uses",
        )
