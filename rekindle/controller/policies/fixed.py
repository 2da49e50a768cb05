"""``fixed``: an idle runner is kept for the function's ``scaledown_window``, whatever happens.

What most platforms do, and the yardstick for the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rekindle.controller.policies.policy import PoolSettings, PoolView, plan_of
from rekindle.wire.pools import PoolPlan


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """``keep_s`` takes the place of every function's own ``scaledown_window``."""

    name: str = "fixed"
    keep_s: float | None = None

    def sizer(self) -> FixedSizer:
        """The part for one more pool."""
        return FixedSizer(self.keep_s)

    def evicted(self, priority: float) -> None:
        """Nothing is learnt from it."""


@dataclass(slots=True)
class FixedSizer:
    """One pool's part of ``fixed``."""

    keep_s: float | None
    _last: tuple[PoolSettings, PoolPlan] | None = field(default=None)

    def arrived(self, now: float) -> None:
        """An input has arrived."""

    def quiet(self, now: float) -> None:
        """The last input has ended."""

    def plan(self, view: PoolView) -> PoolPlan:
        """The window; short of memory, what has been idle longest goes first."""
        keep_s = view.settings.scaledown_window_s if self.keep_s is None else self.keep_s
        if self._last is not None and self._last[0] == view.settings:
            return self._last[1]
        plan = plan_of(view, keep_s=keep_s, why=f"idle runners are kept for {keep_s:g} s")
        self._last = (view.settings, plan)
        return plan
