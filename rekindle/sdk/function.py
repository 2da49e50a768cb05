"""Function: what ``@app.function()`` and the methods of a ``Cls`` instance give.

Standard library only until something is called remotely.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from rekindle.exception import ExecutionError, InvalidError
from rekindle.sdk.declaration import Declaration
from rekindle.sdk.dual import Dual

if TYPE_CHECKING:
    from rekindle.sdk.cls import Instance
    from rekindle.sdk.function_call import FunctionCall

P = ParamSpec("P")
R = TypeVar("R")


class Function(Generic[P, R]):
    """A function that can be called here (``local``) or in a runner (``remote`` and the others).

    It cannot be called with parentheses: which of the two is meant has to be said. All but
    ``local`` have an asyncio form: ``f.remote.aio(...)``.
    """

    def __init__(
        self, declaration: Declaration, *, method: str = "", instance: Instance | None = None
    ) -> None:
        self._declaration = declaration
        self._method = method
        self._instance = instance
        raw = declaration.raw
        if raw is not None:
            if method:
                raw = getattr(raw, declaration.methods[method], None)
            self.__doc__ = getattr(raw, "__doc__", None)
            self.__wrapped__ = raw

    # ---- names ---------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """``f`` or ``Cls.method``."""
        own = self._declaration.name
        return f"{own}.{self._method}" if self._method else own

    @property
    def __name__(self) -> str:
        return self._method or self._declaration.name

    @property
    def object_id(self) -> str:
        """The function id. Raises ExecutionError where its app is not running."""
        return self._declaration.resolve()[1]

    def __repr__(self) -> str:
        return f"<rekindle.Function {self.name} of app {self._declaration.app_name!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _handle, (self._declaration, self._method, self._instance)

    @property
    def params(self) -> bytes:
        """The pickled parameters of the instance that this is a method of; empty without any."""
        return self._instance._params_bytes() if self._instance is not None else b""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refused, as it does not say where. Raises TypeError."""
        raise TypeError(
            f"{self.name}(...) does not say where it is to run: {self.name}.remote(...) calls it "
            f"in a runner, {self.name}.local(...) in this process"
        )

    # ---- calls ---------------------------------------------------------------------------------

    def local(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function in this process. Of an async function: a coroutine.

        A method runs on an object of this process, whose enter hooks run once, before its first
        call.
        """
        if self._instance is not None:
            return self._instance._call_local(self._method, args, kwargs)
        raw = self._declaration.raw
        if raw is None:
            raise ExecutionError(
                f"{self.name}.local(): its code is not in this process, only a handle to it; "
                f"use .remote()"
            )
        return raw(*args, **kwargs)

    @property
    def remote(self) -> Dual[P, R, Awaitable[R]]:
        """``remote(*args, **kwargs)``: call it in a runner and wait for its value.

        Raises what the function raised, of the same type, with the remote traceback as its cause;
        SerializationError for arguments that cannot be pickled; FunctionTimeoutError,
        RunnerLostError and StartError for what can happen to a runner; ConnectionError when no
        controller answers.
        """
        return Dual(self._remote, self._remote_aio)

    def _remote(self, *args: P.args, **kwargs: P.kwargs) -> R:
        from rekindle.sdk.calls import invoke

        value: R = invoke.remote(self, args, kwargs)
        return value

    async def _remote_aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        from rekindle.sdk.calls import invoke

        value: R = await invoke.remote_aio(self, args, kwargs)
        return value

    @property
    def spawn(self) -> Dual[P, FunctionCall, Awaitable[FunctionCall]]:
        """``spawn(*args, **kwargs)``: submit the call, durably, and return without waiting."""
        return Dual(self._spawn, self._spawn_aio)

    def _spawn(self, *args: P.args, **kwargs: P.kwargs) -> FunctionCall:
        from rekindle.sdk.calls import invoke

        return invoke.spawn(self, args, kwargs)

    async def _spawn_aio(self, *args: P.args, **kwargs: P.kwargs) -> FunctionCall:
        from rekindle.sdk.calls import invoke

        return await invoke.spawn_aio(self, args, kwargs)

    # ---- many inputs ---------------------------------------------------------------------------

    @property
    def map(self) -> Dual[..., Iterator[R], AsyncIterator[R]]:
        """``map(*iterators, kwargs={}, order_outputs=True, return_exceptions=False)``.

        One input for each tuple of the zipped iterators, ``kwargs`` for all of them; an iterator
        of the values. Inputs are taken from the iterators as runners get to them (at most 8,192
        are on their way); with ``order_outputs=False`` values come as they are ready; with
        ``return_exceptions=True`` exceptions come in the place of values, otherwise the first one
        is raised and ends it. What ends it early, closing it too, cancels what is left.
        """
        return Dual(self._map, self._map_aio)

    def _map(
        self,
        *iterators: Any,
        kwargs: dict[str, Any] | None = None,
        order_outputs: bool = True,
        return_exceptions: bool = False,
    ) -> Iterator[R]:
        from rekindle.sdk import mapping
        from rekindle.sdk.calls import arguments

        options = mapping.MapOptions(order_outputs, return_exceptions)
        return mapping.run(self, arguments.zipped(self, iterators), kwargs, options)

    def _map_aio(
        self,
        *iterators: Any,
        kwargs: dict[str, Any] | None = None,
        order_outputs: bool = True,
        return_exceptions: bool = False,
    ) -> AsyncIterator[R]:
        from rekindle.sdk import mapping
        from rekindle.sdk.calls import arguments

        options = mapping.MapOptions(order_outputs, return_exceptions)
        return mapping.run_aio(self, arguments.zipped_aio(self, iterators), kwargs, options)

    @property
    def starmap(self) -> Dual[..., Iterator[R], AsyncIterator[R]]:
        """``starmap(iterator, *, kwargs={}, order_outputs=True, return_exceptions=False)``.

        As ``map``, with one iterator of argument tuples.
        """
        return Dual(self._starmap, self._starmap_aio)

    def _starmap(
        self,
        input_iterator: Any,
        *,
        kwargs: dict[str, Any] | None = None,
        order_outputs: bool = True,
        return_exceptions: bool = False,
    ) -> Iterator[R]:
        from rekindle.sdk import mapping
        from rekindle.sdk.calls import arguments

        options = mapping.MapOptions(order_outputs, return_exceptions)
        return mapping.run(self, arguments.starred(self, input_iterator), kwargs, options)

    def _starmap_aio(
        self,
        input_iterator: Any,
        *,
        kwargs: dict[str, Any] | None = None,
        order_outputs: bool = True,
        return_exceptions: bool = False,
    ) -> AsyncIterator[R]:
        from rekindle.sdk import mapping
        from rekindle.sdk.calls import arguments

        options = mapping.MapOptions(order_outputs, return_exceptions)
        return mapping.run_aio(self, arguments.starred_aio(self, input_iterator), kwargs, options)

    @property
    def for_each(self) -> Dual[..., None, Awaitable[None]]:
        """``for_each(*iterators, kwargs={}, ignore_exceptions=False)``: map, values dropped."""
        return Dual(self._for_each, self._for_each_aio)

    def _for_each(
        self,
        *iterators: Any,
        kwargs: dict[str, Any] | None = None,
        ignore_exceptions: bool = False,
    ) -> None:
        for _ in self._map(
            *iterators,
            kwargs=kwargs,
            order_outputs=False,
            return_exceptions=ignore_exceptions,
        ):
            pass

    async def _for_each_aio(
        self,
        *iterators: Any,
        kwargs: dict[str, Any] | None = None,
        ignore_exceptions: bool = False,
    ) -> None:
        async for _ in self._map_aio(
            *iterators,
            kwargs=kwargs,
            order_outputs=False,
            return_exceptions=ignore_exceptions,
        ):
            pass

    @property
    def spawn_map(self) -> Dual[..., FunctionCall, Awaitable[FunctionCall]]:
        """``spawn_map(*iterators, kwargs={})``: submit all inputs, durably, as one call.

        Inputs are taken from the iterators as they are accepted; where the controller has no room
        for more, it waits and warns. Where an iterator raises, what was submitted is cancelled.
        Fetch values from the FunctionCall that it returns: ``get(index=i)``, ``iter()``.
        """
        return Dual(self._spawn_map, self._spawn_map_aio)

    def _spawn_map(self, *iterators: Any, kwargs: dict[str, Any] | None = None) -> FunctionCall:
        from rekindle.sdk import mapping
        from rekindle.sdk.calls import arguments

        return mapping.spawn(self, arguments.zipped(self, iterators), kwargs)

    async def _spawn_map_aio(
        self, *iterators: Any, kwargs: dict[str, Any] | None = None
    ) -> FunctionCall:
        from rekindle.sdk import mapping
        from rekindle.sdk.calls import arguments

        return await mapping.spawn_aio(self, arguments.zipped_aio(self, iterators), kwargs)

    # ---- its pool ------------------------------------------------------------------------------

    @property
    def update_autoscaler(self) -> Dual[..., None, Awaitable[None]]:
        """``update_autoscaler(*, min_containers=None, max_containers=None, ...)``.

        Changes the pool while its app runs: also ``buffer_containers`` and ``scaledown_window``.
        What is not given stays as it is; ``max_containers=0`` is no limit. Holds until the app is
        run anew. Raises InvalidError for what cannot be, and for a method: its class's instance
        has the pool.
        """
        return Dual(self._update_autoscaler, self._update_autoscaler_aio)

    def _check_has_pool(self) -> None:
        if self._method:
            own = self._declaration.name
            raise InvalidError(
                f"{self.name} is a method: the runners are those of its class. "
                f"Use {own}().update_autoscaler(...)"
            )

    def _update_autoscaler(
        self,
        *,
        min_containers: int | None = None,
        max_containers: int | None = None,
        buffer_containers: int | None = None,
        scaledown_window: float | None = None,
    ) -> None:
        from rekindle.sdk import pool_settings

        self._check_has_pool()
        pool_settings.update(
            self._declaration,
            b"",
            min_containers=min_containers,
            max_containers=max_containers,
            buffer_containers=buffer_containers,
            scaledown_window=scaledown_window,
        )

    async def _update_autoscaler_aio(self, **given: Any) -> None:
        from rekindle.sdk import pool_settings

        self._check_has_pool()
        await pool_settings.update_aio(self._declaration, b"", **given)

    # ---- for the bench -------------------------------------------------------------------------

    def prepare(self, strategy: str, timeout: float = 300.0) -> None:
        """Make sure that ``strategy`` can be taken: a template is live, a snapshot is there.

        Waits up to ``timeout`` seconds. Raises StrategyUnavailableError with the reason.
        """
        from rekindle.sdk.calls import invoke

        invoke.prepare(self, strategy, timeout)


def _handle(declaration: Declaration, method: str, instance: Instance | None) -> Function[..., Any]:
    return Function(declaration, method=method, instance=instance)


def raw_of(value: Any) -> Callable[..., Any] | None:
    """The user's function of a Function that is not a method."""
    return value._declaration.raw if isinstance(value, Function) else None
