"""A class with values for its parameters: what names its runners, and its object in this process.

Standard library only.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rekindle.exception import ExecutionError, InvalidError
from rekindle.execution import self_calls
from rekindle.execution.declared import hooks_of, parameters_of
from rekindle.sdk import class_parameters
from rekindle.sdk.declaration import Declaration
from rekindle.wire.class_parameters import ClassParameter, pack

if TYPE_CHECKING:
    import asyncio

#: From a binding and the public name of a method to what calls that remotely.
MethodOf = Callable[["Binding", str], Any]


class Binding:
    """A declared class, and values for its parameters."""

    def __init__(
        self, declaration: Declaration, parameters: dict[str, Any], args: tuple[Any, ...] = ()
    ) -> None:
        self.declaration = declaration
        #: All of them where the class's parameters are known here, else those that were given.
        self.parameters = parameters
        #: What was given by position, where their names are not known yet.
        self.args = args
        self._packed: tuple[tuple[ClassParameter, ...], bytes] | None = None
        self._making = threading.Lock()
        self._local_lock = threading.Lock()
        self._local_object: Any = None
        self._local_ready = False
        #: The enter hooks, while an event loop runs them.
        self._local_entering: asyncio.Task[None] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Binding, (self.declaration, self.parameters, self.args)

    @classmethod
    def of(cls, declaration: Declaration, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Binding:
        """With these values; checked now where the class's parameters are known here.

        Raises TypeError.
        """
        known = declaration.parameters_at_hand()
        if known is None:
            return Binding(declaration, dict(kwargs), args)
        return Binding(declaration, class_parameters.bind(declaration.name, known, args, kwargs))

    def params(self) -> bytes:
        """What names the runners: equal bytes for equal values, defaults among them.

        Of a class of a deployed app the controller may be asked what parameters there are, and is
        asked again before values are refused. Raises TypeError for values that these do not take,
        InvalidError for what is too large.
        """
        try:
            return self._params_now()
        except (TypeError, InvalidError):
            if not self.declaration.look_again():
                raise
            return self._params_now()

    def _params_now(self) -> bytes:
        known = self.declaration.parameters_now()
        name = self.declaration.name
        if known is None:  # a handle of whoever knew them, and has given them all
            return pack(name, self.parameters)
        if self._packed is None or self._packed[0] != known:
            values = class_parameters.bind(name, known, self.args, self.parameters)
            self._packed = known, pack(name, values)
        return self._packed[1]

    # ---- in this process -----------------------------------------------------------------------

    @property
    def made_here(self) -> Any:
        """The object of this process, where there is one by now; None otherwise."""
        return self._local_object

    def object(self, handle: MethodOf) -> Any:
        """The object of this process, whose methods call each other by what ``handle`` gives.

        Raises ExecutionError where there is only a handle.
        """
        raw = self.declaration.raw
        if raw is None:
            raise ExecutionError(
                f"{self.declaration.name}: its code is not in this process, only a handle to it; "
                f"use .remote()"
            )
        with self._making:
            if self._local_object is None:
                made = raw.__new__(raw)
                for key in filter(self.parameters.__contains__, parameters_of(raw)):
                    setattr(made, key, self.parameters[key])
                self_calls.offer_on(made, self.declaration.methods, partial(handle, self))
                self._local_object = made
        return self._local_object

    def call(self, method: str, args: Any, kwargs: Any, handle: MethodOf) -> Any:
        """Call a method of the object of this process; its enter hooks have run then."""
        target = getattr(self.object(handle), self.declaration.methods[method])
        if inspect.iscoroutinefunction(target):
            return self._enter_and_await(target, args, kwargs)
        if inspect.isasyncgenfunction(target):
            return self._enter_and_iterate(target, args, kwargs)
        with self._local_lock:
            if not self._local_ready:
                for hook in self._hooks():
                    self._settle(hook())
                self._local_ready = True
        return target(*args, **kwargs)

    async def _enter_and_await(self, target: Any, args: Any, kwargs: Any) -> Any:
        await self._enter()
        return await target(*args, **kwargs)

    async def _enter_and_iterate(
        self, target: Any, args: Any, kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        await self._enter()
        async with contextlib.aclosing(target(*args, **kwargs)) as items:
            async for item in items:
                yield item

    async def _enter(self) -> None:
        """Run the hooks once: the first task does, others wait for it."""
        import asyncio

        while not self._local_ready:
            entering = self._local_entering
            if entering is None or entering.get_loop() is not asyncio.get_running_loop():
                entering = self._local_entering = asyncio.ensure_future(self._run_hooks())
            try:
                # Others wait for it, too: who is cancelled does not end it.
                await asyncio.shield(entering)
            finally:
                if entering.done() and self._local_entering is entering:
                    self._local_entering = None

    async def _run_hooks(self) -> None:
        for hook in self._hooks():
            pending = hook()
            if inspect.isawaitable(pending):
                await pending
        self._local_ready = True

    def _hooks(self) -> list[Any]:
        made = self._local_object
        found = hooks_of(type(made))
        return [
            getattr(made, name)
            for name in (*found["enter_snap"], *found["enter_gpu"], *found["enter"])
        ]

    def _settle(self, value: Any) -> None:
        if inspect.iscoroutine(value):
            import asyncio

            try:
                asyncio.run(value)
            except RuntimeError as error:
                value.close()
                raise ExecutionError(
                    f"{self.declaration.name} has an async enter hook, which cannot be awaited in "
                    f"a blocking .local() inside a running event loop ({error})"
                ) from None
