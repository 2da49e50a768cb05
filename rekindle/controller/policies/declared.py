"""``declared``: what the function's decorator says, and nothing else. The default.

An idle runner is kept for the function's ``scaledown_window``, and a template that a start has made
stays after it: no one who has set nothing gets a slower start than the window promises.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rekindle.controller.policies.policy import PoolSettings, PoolView, plan_of
from rekindle.wire.pools import Level, PoolPlan, Rest


@dataclass(frozen=True, kw_only=True)
class Declared:
    """It has no parameters: the function's own settings are."""

    name: str = "declared"

    def sizer(self) -> DeclaredSizer:
        """The part for one more pool."""
        return DeclaredSizer()

    def evicted(self, priority: float) -> None:
        """Nothing is learnt from it: short of memory, what has been idle longest goes first."""


@dataclass(slots=True)
class DeclaredSizer:
    """One pool's part of ``declared``."""

    _last: tuple[PoolSettings, PoolPlan] | None = field(default=None)

    def arrived(self, now: float) -> None:
        """An input has arrived."""

    def quiet(self, now: float) -> None:
        """The last input has ended."""

    def plan(self, view: PoolView) -> PoolPlan:
        """The window. BOOTED is any live template, a mapped one where that can be had."""
        if self._last is not None and self._last[0] == view.settings:
            return self._last[1]
        window_s = view.settings.scaledown_window_s
        plan = plan_of(
            view,
            keep_s=window_s,
            base=Level.BOOTED,
            rest=(Rest(Level.WARM, window_s), Rest(Level.BOOTED)),
            why=f"idle runners are kept for {window_s:g} s",
        )
        self._last = (view.settings, plan)
        return plan
