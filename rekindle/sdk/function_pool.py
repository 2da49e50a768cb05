"""The runners of a function: how many there are, and what waits for them. A base of Function.

Standard library only until something is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from rekindle.exception import InvalidError
from rekindle.sdk.binding import Binding
from rekindle.sdk.declaration import Declaration
from rekindle.sdk.decorated import Declared
from rekindle.sdk.dual import dual
from rekindle.sdk.user_frames import trims

if TYPE_CHECKING:
    from rekindle.sdk.autoscaler import Autoscaler
    from rekindle.sdk.calls.callers import Caller
    from rekindle.sdk.options import PoolOptions
    from rekindle.sdk.stats import FunctionCurrentStats


@trims
class FunctionPool(Declared):
    """A function, or a method of an instance, as what has runners."""

    def __init__(self, declaration: Declaration, method: str, binding: Binding | None) -> None:
        super().__init__(declaration)
        self._method = method
        self._binding = binding

    @property
    def name(self) -> str:
        """``f`` or ``Cls.method``."""
        own = self._declaration.name
        return f"{own}.{self._method}" if self._method else own

    @dual
    async def update_autoscaler(self, caller: Caller, **settings: Unpack[PoolOptions]) -> None:
        """``update_autoscaler(*, min_containers=None, max_containers=None, ...)``.

        Changes the pool while its app runs: also ``buffer_containers``, ``spare_containers`` and
        ``scaledown_window``. What is not given stays as it is; ``max_containers=0`` is no limit,
        ``spare_containers=-1`` leaves them to the pool's policy. Holds until the app is run again.
        Raises InvalidError for what cannot be, and for a method: its class's instance has the pool.
        """
        from rekindle.sdk import autoscaler

        self._no_method("{}().update_autoscaler(...)")
        await autoscaler.update(caller, self._declaration, bytes, **settings)

    @property
    def autoscaler(self) -> Autoscaler:
        """Sizes of its pool: ``autoscaler.settings()``, ``autoscaler.update(...)``."""
        from rekindle.sdk.autoscaler import Autoscaler

        self._no_method("{}().autoscaler")
        return Autoscaler(self._declaration, bytes)

    @dual
    async def get_current_stats(self, caller: Caller) -> FunctionCurrentStats:
        """``get_current_stats()``: its runners, and what waits for them (sdk/stats.py).

        Of a method: of its instance's runners. Raises NotFoundError.
        """
        from rekindle.sdk import stats

        params = self._binding.params if self._binding is not None else bytes
        return await stats.current(caller, self._declaration, params)

    def _no_method(self, instead: str) -> None:
        if self._method:
            raise InvalidError(
                f"{self.name} is a method: its runners are those of its class. "
                f"Use {instead.format(self._declaration.name)}"
            )
