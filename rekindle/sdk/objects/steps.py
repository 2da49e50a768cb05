"""Both forms of the methods of Dict and Queue, ``d.put(...)`` and ``d.put.aio(...)``, of one body.

A body is a generator: it yields requests and is sent replies; it does no waiting itself, so it
knows neither threads nor loops. The body of an iterator yields lists of values, too. Standard
library only, until an ``.aio`` is used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from rekindle.exception import NotFoundError
from rekindle.sdk import loop_warning, user_frames
from rekindle.sdk.objects.taking import Taking
from rekindle.wire.object_frames import Reply, Request

if TYPE_CHECKING:
    from rekindle.sdk.objects.link import Link


class Located(Protocol):
    """What requests are about."""

    def _link(self) -> Link:
        """The instance that it is in."""

    def _known_id(self, link: Link) -> bytes:
        """Its id there; empty while it is not known."""

    def _resolving(self) -> Request:
        """Asks for its id."""

    def _resolved(self, link: Link, reply: Reply) -> bytes:
        """Takes in what came back."""

    def _gone(self, error: NotFoundError) -> NotFoundError:
        """The same error, about what its user knows it by."""


S = TypeVar("S", bound=Located)
P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")

#: What is done, and what comes of it.
Steps = Generator[Request, Any, R]
#: The same for what gives values one after the other, some at a time.
Batches = Generator["Request | Iterable[V]", Any, None]


class Bound(Generic[P, R]):
    """Calls the blocking form; ``aio`` is the other."""

    __slots__ = ("_body", "_owner")

    def __init__(self, owner: Located, body: Callable[..., Steps[R]]) -> None:
        self._owner = owner
        self._body = body

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        taking = Taking()
        try:
            return _run(self._owner, self._body, args, kwargs, taking)
        except BaseException as error:
            taking.fails(error, blocks=True)
            user_frames.only(error, self._body, (self._owner, *args), kwargs)
            raise

    def aio(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """The asyncio form."""
        return _drive(self._owner, self._body, args, kwargs)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self._body.__doc__

    def __repr__(self) -> str:
        return f"<{self._body.__qualname__}; also .aio>"


class BoundIterator(Generic[P, V]):
    """The same for what iterates."""

    __slots__ = ("_body", "_owner")

    def __init__(self, owner: Located, body: Callable[..., Batches[V]]) -> None:
        self._owner = owner
        self._body = body

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[V]:
        if loop_warning.loop_runs():
            loop_warning.warn(self._body.__name__, iterates=True)
        try:
            return _iterate(self._owner, self._body(self._owner, *args, **kwargs))
        except BaseException as error:
            user_frames.only(error, self._body, (self._owner, *args), kwargs)
            raise

    def aio(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[V, None]:
        """The asyncio form."""
        try:
            return _aiterate(self._owner, self._body(self._owner, *args, **kwargs))
        except BaseException as error:
            user_frames.only(error, self._body, (self._owner, *args), kwargs)
            raise

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self._body.__doc__

    def __repr__(self) -> str:
        return f"<{self._body.__qualname__}; also .aio>"


class both(Generic[S, P, R]):
    """Decorates the body of a method."""

    def __init__(self, body: Callable[Concatenate[S, P], Steps[R]]) -> None:
        self._body = body
        self.__doc__ = body.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> both[S, P, R]: ...
    @overload
    def __get__(self, instance: S, owner: type) -> Bound[P, R]: ...
    def __get__(self, instance: S | None, owner: type) -> Any:
        return self if instance is None else Bound(instance, self._body)


class both_taking(both[S, P, R]):
    """The same of a method that takes something out.

    Python lets a signal's handler run behind a call, but for that of a function: so this gives one,
    and what it returns is in its caller's hands before a handler can raise anything.
    """

    def __get__(self, instance: S | None, owner: type) -> Any:
        if instance is None:
            return self
        body = self._body

        def call(*args: Any, **kwargs: Any) -> Any:
            taking = Taking()
            try:
                return _run(instance, body, args, kwargs, taking)
            except BaseException as error:
                taking.fails(error, blocks=True)
                user_frames.only(error, body, (instance, *args), kwargs)
                raise

        call.__name__, call.__doc__ = body.__name__, body.__doc__
        call.__dict__["aio"] = Bound(instance, body).aio
        return call


class both_iterators(Generic[S, P, V]):
    """Decorates the body of a method that iterates."""

    def __init__(self, body: Callable[Concatenate[S, P], Batches[V]]) -> None:
        self._body = body
        self.__doc__ = body.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> both_iterators[S, P, V]: ...
    @overload
    def __get__(self, instance: S, owner: type) -> BoundIterator[P, V]: ...
    def __get__(self, instance: S | None, owner: type) -> Any:
        return self if instance is None else BoundIterator(instance, self._body)


def _run(
    owner: Located,
    body: Callable[..., Steps[R]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    taking: Taking,
) -> R:
    if loop_warning.loop_runs():
        loop_warning.warn(body.__name__, iterates=False)
    try:
        steps = body(owner, *args, **kwargs)
        request = next(steps)
        while True:
            request = steps.send(ask(owner, request, taking))
    except StopIteration as done:
        value: R = done.value
        return value


# ---- a request ---------------------------------------------------------------------------------


def ask(owner: Located, request: Request, taking: Taking | None = None) -> Reply:
    """Have it done; blocks. ``taking``: of the call that it is for."""
    link = owner._link()
    object_id = owner._known_id(link)
    if not object_id:
        object_id = owner._resolved(link, link.ask(b"", owner._resolving()))
    try:
        return link.ask(object_id, request, taking)
    except NotFoundError as error:
        raise owner._gone(error) from None


async def _ask_aio(owner: Located, request: Request, taking: Taking | None = None) -> Reply:
    from rekindle.sdk.objects.aio_link import aio_link

    link = owner._link()
    found = aio_link(link)
    object_id = owner._known_id(link)
    if not object_id:
        object_id = owner._resolved(link, await found.ask(b"", owner._resolving()))
    try:
        return await found.ask(object_id, request, taking)
    except NotFoundError as error:
        raise owner._gone(error) from None


async def _drive(
    owner: Located, body: Callable[..., Steps[R]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> R:
    taking = Taking()
    try:
        try:
            steps = body(owner, *args, **kwargs)
            request = next(steps)
            while True:
                request = steps.send(await _ask_aio(owner, request, taking))
        except StopIteration as done:
            value: R = done.value
            return value
    except BaseException as error:
        taking.fails(error, blocks=False)
        user_frames.only(error, body, (owner, *args), kwargs)
        raise


def _iterate(owner: Located, steps: Batches[V]) -> Iterator[V]:
    return chain.from_iterable(_batches(owner, steps))


def _batches(owner: Located, steps: Batches[V]) -> Iterator[Iterable[V]]:
    reply: Reply | None = None
    try:
        while True:
            step = steps.send(reply)
            if isinstance(step, Request):
                reply = ask(owner, step)
            else:
                yield step
                reply = None
    except StopIteration:
        return
    except BaseException as error:
        user_frames.only(error)
        raise


async def _aiterate(owner: Located, steps: Batches[V]) -> AsyncGenerator[V, None]:
    reply: Reply | None = None
    try:
        while True:
            step = steps.send(reply)
            if isinstance(step, Request):
                reply = await _ask_aio(owner, step)
            else:
                for value in step:
                    yield value
                reply = None
    except StopIteration:
        return
    except BaseException as error:
        user_frames.only(error)
        raise
