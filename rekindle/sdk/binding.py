"""A class with values for its parameters: what names its runners, and its object in this process.

Standard library only.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import pickle
import threading
from collections.abc import AsyncGenerator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rekindle.exception import ExecutionError, InvalidError
from rekindle.execution.declared import Parameter, hooks_of
from rekindle.sdk import checks
from rekindle.sdk.declaration import Declaration

if TYPE_CHECKING:
    import asyncio

_TYPES: dict[Any, type] = {kind: kind for kind in (str, int, bytes, bool)}
_TYPES |= {kind.__name__: kind for kind in (str, int, bytes, bool)}
#: The parameters of an instance, pickled.
MAX_PARAMS_BYTES = 16 * 1024


class Binding:
    """A declared class, and values for its parameters."""

    def __init__(self, declaration: Declaration, parameters: dict[str, Any]) -> None:
        self.declaration = declaration
        self.parameters = parameters
        self._local_lock = threading.Lock()
        self._local_object: Any = None
        self._local_ready = False
        #: The enter hooks, while an event loop runs them.
        self._local_entering: asyncio.Task[None] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Binding, (self.declaration, self.parameters)

    @cached_property
    def params(self) -> bytes:
        """What names the runners: equal bytes for equal values. Raises InvalidError."""
        return pack_parameters(self.declaration.name, self.parameters)

    # ---- in this process -----------------------------------------------------------------------

    def object(self) -> Any:
        """The object of this process. Raises ExecutionError where there is only a handle."""
        raw = self.declaration.raw
        if raw is None:
            raise ExecutionError(
                f"{self.declaration.name}: its code is not in this process, only a handle to it; "
                f"use .remote()"
            )
        if self._local_object is None:
            made = raw.__new__(raw)
            for key, value in self.parameters.items():
                setattr(made, key, value)
            self._local_object = made
        return self._local_object

    def call(self, method: str, args: Any, kwargs: Any) -> Any:
        """Call a method of the object of this process; its enter hooks have run then."""
        target = getattr(self.object(), self.declaration.methods[method])
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
        made = self.object()
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


# ---- parameters --------------------------------------------------------------------------------


def annotation_of(raw: type, name: str) -> Any:
    """The annotated type of a parameter: one of str, int, bytes, bool, or None for others."""
    for cls in raw.__mro__:
        annotations = inspect.get_annotations(cls)
        if name in annotations:
            given = annotations[name]
            return _TYPES.get(given) if isinstance(given, (type, str)) else None
    return None


def bind_parameters(
    name: str, known: dict[str, Parameter], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Values for all parameters, from arguments and defaults. Raises TypeError."""
    names = [key for key, parameter in known.items() if parameter.init]
    if len(args) > len(names):
        raise TypeError(f"{name}() takes {len(names)} arguments, {len(args)} were given")
    given = dict(zip(names, args, strict=False))
    for key, value in kwargs.items():
        if key not in known or not known[key].init:
            raise TypeError(
                f"{name}() got an unexpected keyword argument {key!r}{checks.nearest(key, names)}"
            )
        if key in given:
            raise TypeError(f"{name}() got two values for {key!r}")
        given[key] = value
    values = {key: given.get(key, parameter.default) for key, parameter in known.items()}
    missing = [key for key, value in values.items() if value is ...]
    if missing:
        raise TypeError(f"{name}() needs values for: {', '.join(missing)}")
    return values


def check_values(raw: type, values: dict[str, Any]) -> None:
    """Each value is of its annotated type. Raises TypeError."""
    for key, value in values.items():
        try:
            check_type(f"{raw.__name__}({key}=)", value, annotation_of(raw, key))
        except InvalidError as error:
            raise TypeError(str(error)) from None


def check_type(what: str, value: Any, kind: type | None) -> None:
    """Raise InvalidError for a value of another type."""
    if kind is not None and type(value) is not kind:
        raise InvalidError(f"{what} is {value!r}; it must be of type {kind.__name__}")


def pack_parameters(name: str, values: dict[str, Any]) -> bytes:
    """Pickle the values so that equal ones give equal bytes. Raises InvalidError when too large."""
    if not values:
        return b""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=5)
    pickler.fast = True  # no memo: whether two values are one object must not show
    pickler.dump(dict(sorted(values.items())))
    data = buffer.getvalue()
    if len(data) > MAX_PARAMS_BYTES:
        raise InvalidError(
            f"the parameters of {name} take {len(data)} bytes, more than {MAX_PARAMS_BYTES}: "
            f"pass large values as arguments of a method"
        )
    return data
