"""``fixed``: an idle runner is kept for the function's ``scaledown_window``, whatever happens.

What most platforms do, and the yardstick for the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rekindle.controller.policies.policy import PoolSettings, PoolView, bottom, plan_of
from rekindle.exception import InvalidError
from rekindle.wire.pools import Level, PoolPlan, Rest


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """``keep_s`` takes the place of every function's own ``scaledown_window``.

    ``rest`` is the level that a pool rests at afterwards, for ever: disk, cached, mapped, booted
    or none; by default the warmest that holds no memory.
    """

    name: str = "fixed"
    keep_s: float | None = None
    rest: str | None = None

    def __post_init__(self) -> None:
        levels = [level.value for level in Level if level is not Level.WARM]
        if self.rest is not None and self.rest not in levels:
            raise InvalidError(f"rest={self.rest!r}: it is one of {', '.join(levels)}")
        if self.keep_s is not None and self.keep_s < 0:
            raise InvalidError(f"fixed: keep_s={self.keep_s:g} must not be negative")

    def sizer(self) -> FixedSizer:
        """The part for one more pool."""
        return FixedSizer(self.keep_s, None if self.rest is None else Level(self.rest))

    def evicted(self, priority: float) -> None:
        """Nothing is learnt from it."""


@dataclass(slots=True)
class FixedSizer:
    """One pool's part of ``fixed``."""

    keep_s: float | None
    rest: Level | None
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
        rest = bottom(view.levels)
        if self.rest is not None and self.rest in view.levels:
            rest = self.rest
        plan = plan_of(
            view,
            keep_s=keep_s,
            base=rest,
            rest=(Rest(Level.WARM, keep_s), Rest(rest)),
            why=f"idle runners are kept for {keep_s:g} s",
        )
        self._last = (view.settings, plan)
        return plan
