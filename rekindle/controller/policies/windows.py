"""``declared`` and ``fixed``: an idle runner is kept for a window, whatever happens.

``declared`` is the default: what the function's decorator says, and nothing else. A template that a
start has made stays after the window, and its spares with it: who has set nothing gets no slower
start than it promises.
``fixed`` is what most platforms do, and the yardstick for the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rekindle.controller.policies.policy import (
    Policy,
    PoolSettings,
    PoolView,
    Sizer,
    bottom,
    plan_of,
    usual_spares,
)
from rekindle.exception import InvalidError
from rekindle.wire.pools import Level, PoolPlan, Rest


@dataclass(frozen=True, kw_only=True)
class Declared(Policy):
    """It has no parameters: the function's own settings are."""

    def sizer(self) -> WindowSizer:
        """The part for one more pool."""
        return WindowSizer(None, Level.SPARE, ahead=False)


@dataclass(frozen=True, kw_only=True)
class Fixed(Policy):
    """``keep_s`` takes the place of every function's own ``scaledown_window``.

    ``rest`` is the level that a pool rests at afterwards, for ever: disk, cached, mapped, booted,
    spare or none; by default the warmest that holds no memory.
    """

    keep_s: float | None = None
    rest: str | None = None

    def __post_init__(self) -> None:
        levels = [level.value for level in Level if level is not Level.WARM]
        if self.rest is not None and self.rest not in levels:
            raise InvalidError(f"rest={self.rest!r}: it is one of {', '.join(levels)}")
        if self.keep_s is not None and self.keep_s < 0:
            raise InvalidError(f"fixed: keep_s={self.keep_s:g} must not be negative")

    def sizer(self) -> WindowSizer:
        """The part for one more pool."""
        return WindowSizer(self.keep_s, None if self.rest is None else Level(self.rest))


@dataclass(slots=True)
class WindowSizer(Sizer):
    """One pool's part of either."""

    keep_s: float | None
    rest: Level | None
    #: Otherwise templates are kept and not made, and so also where none was held yet.
    ahead: bool = True
    _last: tuple[PoolSettings, int, PoolPlan] | None = field(default=None)

    def plan(self, view: PoolView) -> PoolPlan:
        """The window; short of memory, what has been idle longest goes first."""
        keep_s = view.settings.scaledown_window_s if self.keep_s is None else self.keep_s
        spares = usual_spares(view.levels)
        if self._last is not None and self._last[:2] == (view.settings, spares):
            return self._last[2]
        rest = bottom(view.levels)
        if self.rest is not None and (not self.ahead or self.rest in view.levels):
            rest = self.rest
        plan = plan_of(
            view,
            keep_s=keep_s,
            base=rest,
            spares=spares,
            ahead=self.ahead,
            rest=(Rest(Level.WARM, keep_s), Rest(rest)),
            why=f"idle runners are kept for {keep_s:g} s",
        )
        self._last = (view.settings, spares, plan)
        return plan
