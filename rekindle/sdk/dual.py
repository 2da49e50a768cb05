"""A blocking call and its asyncio form under one name: ``f.spawn(x)`` and ``f.spawn.aio(x)``.

``dual`` and ``dual_iterator`` make both forms of one body, which does all its waiting by a Caller
(calls/callers.py). Standard library only until something is called.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from rekindle.sdk import loop_warning, user_frames

if TYPE_CHECKING:
    from rekindle.sdk.calls.callers import Caller

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")


class Dual(Generic[P, R, A]):
    """Calls the blocking form; ``aio`` is the other."""

    __slots__ = ("_blocking", "_body", "_implicit", "_iterates", "aio")

    def __init__(
        self,
        blocking: Callable[P, R],
        aio: Callable[P, A],
        body: Callable[..., Any] | None = None,
        implicit: tuple[Any, ...] = (),
        *,
        iterates: bool = False,
    ) -> None:
        self._blocking = blocking
        self._iterates = iterates
        #: The asyncio form: awaitable, or an async iterator where the blocking form iterates.
        self.aio = aio
        self._body: Callable[..., Any] = body or blocking  # has the name, docstring, parameters
        self._implicit = implicit  # what the body is given before what a program gives

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if loop_warning.loop_runs():
            loop_warning.warn(self._body.__name__.lstrip("_"), iterates=self._iterates)
        try:
            return self._blocking(*args, **kwargs)
        except BaseException as error:
            user_frames.only(error, self._body, (*self._implicit, *args), kwargs)
            raise

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self._body.__doc__

    def __repr__(self) -> str:
        return f"<{getattr(self._body, '__qualname__', self._body)}; also .aio>"


class DualMethod(Generic[S, P, R, A]):
    """Gives both forms of a method whose body gives a coroutine, or an async generator."""

    def __init__(self, body: Callable[..., Any], *, iterates: bool) -> None:
        self._body = body
        self._iterates = iterates
        self.__doc__ = body.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> DualMethod[S, P, R, A]: ...
    @overload
    def __get__(self, instance: S, owner: type) -> Dual[P, R, A]: ...
    def __get__(self, instance: S | None, owner: type) -> Any:
        if instance is None:
            return self
        body, iterates = self._body, self._iterates

        def blocking(*args: P.args, **kwargs: P.kwargs) -> Any:
            from rekindle.sdk.calls.callers import BLOCKING, BlockingIterator, finish

            made = body(instance, BLOCKING, *args, **kwargs)
            return BlockingIterator(made, _what(instance, body)) if iterates else finish(made)

        def aio(*args: P.args, **kwargs: P.kwargs) -> Any:
            from rekindle.sdk.calls.callers import LoopCaller, LoopIterator

            try:
                made = body(instance, LoopCaller(), *args, **kwargs)
            except BaseException as error:
                user_frames.only(error, body, (instance, None, *args), kwargs)
                raise
            if iterates:
                return LoopIterator(made, f"{_what(instance, body)}.aio")
            return shown(made, body, (instance, None, *args), kwargs)

        return Dual(blocking, aio, body, (instance, None), iterates=iterates)


def _what(instance: Any, body: Callable[..., Any]) -> str:
    return f"{getattr(instance, 'name', type(instance).__name__)}.{body.__name__}"


def dual(
    body: Callable[Concatenate[S, Caller, P], Coroutine[Any, Any, R]],
) -> DualMethod[S, P, R, Awaitable[R]]:
    """Makes both forms of a method whose body is a coroutine."""
    return DualMethod(body, iterates=False)


def dual_iterator(
    body: Callable[Concatenate[S, Caller, P], AsyncGenerator[R, None]],
) -> DualMethod[S, P, Iterator[R], AsyncGenerator[R, None]]:
    """Makes both forms of a method that gives an async generator."""
    return DualMethod(body, iterates=True)


def settled(
    body: Callable[Concatenate[Caller, P], Coroutine[Any, Any, Callable[[], R]]],
) -> Dual[P, R, Awaitable[R]]:
    """Both forms of a coroutine that returns what gives the value, or raises as the function did.

    That is called outside of the coroutine, which would let no StopIteration through.
    """

    def blocking(*args: P.args, **kwargs: P.kwargs) -> R:
        from rekindle.sdk.calls.callers import BLOCKING, finish

        return finish(body(BLOCKING, *args, **kwargs))()

    async def aio(*args: P.args, **kwargs: P.kwargs) -> R:
        from rekindle.sdk.calls.callers import LoopCaller
        from rekindle.sdk.calls.outcome import within

        try:
            return within(await body(LoopCaller(), *args, **kwargs))
        except BaseException as error:
            user_frames.only(error, body, (None, *args), kwargs)
            raise

    return Dual(blocking, aio, body, (None,))


def in_thread(blocking: Callable[P, R]) -> Dual[P, R, Awaitable[R]]:
    """Both forms of what blocks: the asyncio form has a thread do it."""

    def aio(*args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        import asyncio

        return shown(asyncio.to_thread(blocking, *args, **kwargs), blocking, args, kwargs)

    return Dual(blocking, aio)


async def shown(
    work: Awaitable[R], called: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> R:
    """What a call gives, for who awaits it: errors show their program's frames alone."""
    try:
        return await work
    except BaseException as error:
        user_frames.only(error, called, args, kwargs)
        raise
