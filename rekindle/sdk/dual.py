"""A blocking call and its asyncio form under one name: ``f.spawn(x)`` and ``f.spawn.aio(x)``.

``dual`` and ``dual_iterator`` make both forms of one body, which does all its waiting by a Caller
(calls/callers.py). A block (``app.run()``) is sync and async itself; ``.aio`` gives the same one.
Standard library only until something is called.
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
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    overload,
)

from rekindle.sdk import loop_warning, user_frames

if TYPE_CHECKING:
    from rekindle.sdk.block import Block
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


class DualBlock(Dual[P, R, R]):
    """Makes a context manager, sync and async: to make it waits for nothing, in both forms."""

    __slots__ = ()

    def __init__(self, make: Callable[P, R]) -> None:
        super().__init__(make, make)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return self._blocking(*args, **kwargs)
        except BaseException as error:
            user_frames.only(error)
            raise


class block_method(Generic[S, P, R]):
    """Decorates a method that makes a block."""

    def __init__(self, body: Callable[Concatenate[S, P], R]) -> None:
        self._body: Any = user_frames.trimmed(body)
        self.__doc__ = body.__doc__

    def __get__(self, instance: S | None, owner: type) -> DualBlock[P, R]:
        return DualBlock(self._body if instance is None else self._body.__get__(instance))


class own_block(Generic[P]):
    """The same where the object itself is the block's target."""

    def __init__(self, body: Callable[Concatenate[Any, P], Block[Any]]) -> None:
        self._body: Any = user_frames.trimmed(body)
        self.__doc__ = body.__doc__

    def __get__(self, instance: R | None, owner: type[R]) -> DualBlock[P, Block[R]]:
        return DualBlock(self._body if instance is None else self._body.__get__(instance))


class class_block(own_block[P]):
    """The same of a class: an object of it is the target."""

    def __get__(self, instance: R | None, owner: type[R]) -> DualBlock[P, Block[R]]:
        return DualBlock(self._body.__get__(owner))


def _what(instance: Any, body: Callable[..., Any]) -> str:
    return f"{getattr(instance, 'name', type(instance).__name__)}.{body.__name__}"


def dual(
    body: Callable[Concatenate[S, Caller, P], Coroutine[Any, Any, R]],
) -> DualMethod[S, P, R, Awaitable[R]]:
    """Makes both forms of a method whose body is a coroutine."""
    return DualMethod(body, iterates=False)


class GivesItself(Protocol[P]):
    """The type of such a method whose value is its own object."""

    def __get__(self, instance: R, owner: type[R]) -> Dual[P, R, Awaitable[R]]: ...


def dual_of_itself(
    body: Callable[Concatenate[Any, Caller, P], Coroutine[Any, Any, object]],
) -> GivesItself[P]:
    """``dual`` of a body that returns ``self``: a type checker knows it as what it is called on."""
    made: Any = dual(body)
    itself: GivesItself[P] = made
    return itself


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
