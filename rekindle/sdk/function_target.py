"""What a call of a function goes to, and whether it can be made. A base of Function.

Standard library only until something is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rekindle.exception import InvalidError
from rekindle.sdk.binding import Binding
from rekindle.sdk.calls.target import CallTarget
from rekindle.sdk.declaration import Declaration
from rekindle.sdk.function_pool import FunctionPool
from rekindle.sdk.user_frames import trims

if TYPE_CHECKING:
    from rekindle.sdk.calls.callers import Caller


@trims
class FunctionTarget(FunctionPool):
    """A function, or a method of an instance, as what can be called."""

    def __init__(self, declaration: Declaration, method: str, binding: Binding | None) -> None:
        super().__init__(declaration, method, binding)
        self._last_target: CallTarget | None = None

    @property
    def is_generator(self) -> bool | None:
        """Whether its items come one by one; None where only a handle is here that cannot tell."""
        known = self._declaration.generators
        return None if known is None else self._method in known

    def _target(self) -> CallTarget:
        """What a call needs to know of it. Raises ExecutionError where its app is not running."""
        last, app = self._last_target, self._declaration.running
        if last is not None and app is not None and last.app is app and not app.pending:
            return last
        client, function_id, app = self._declaration.resolve()
        same = last is not None and last.client is client and last.app is app
        if last is not None and same and last.function_id == function_id:
            return last  # an id is of one spec: parameters and methods are the same
        params = b""
        if self._binding is not None:
            self._declaration.check_method(self._method)
            params = self._binding.params()
        target = CallTarget(
            *(client, function_id, params, self._method, self.name, app),
            pinned=self._declaration.pinned,
        )
        self._last_target = target
        return target

    async def _target_for(self, caller: Caller) -> CallTarget:
        """The same; what has to ask for it first does not hold an event loop up."""
        if caller.blocks or self._declaration.is_at_hand():
            return self._target()
        return await caller.in_thread(self._target)

    def _check_items(self) -> None:
        if self.is_generator is False:
            raise InvalidError(
                f"{self.name} is no generator: {self.name}.remote(...) gives its value. Of what "
                f"returns an iterator, say so with is_generator=True"
            )

    def _check_queued(self, way: str) -> None:
        """Refuse what is queued, of a generator: its items have to have a reader."""
        if self.is_generator:
            raise InvalidError(
                f"{self.name} is a generator, which .{way}() cannot run: iterate over "
                f"{self.name}.remote_gen(...)"
            )
