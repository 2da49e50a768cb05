"""The two kinds of callers: a thread that blocks, and a task of an event loop.

What waits for something is written once, as a coroutine that does all its waiting by its caller.
For a caller that blocks such a coroutine never suspends, so ``finish`` runs it to its end. Knows
nothing of calls.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rekindle import lazily
from rekindle.exception import InternalFailure, NeverIteratedWarning
from rekindle.sdk import loop_warning, user_frames
from rekindle.sdk.connection.background import background

if TYPE_CHECKING:
    import asyncio
    from concurrent import futures
else:
    asyncio = lazily.module("asyncio")
    futures = lazily.module("concurrent.futures")

T = TypeVar("T")


class Signal(Protocol):
    """What wakes a caller; set from any thread."""

    def set(self) -> None:
        """Wake it."""

    def clear(self) -> None:
        """Wait for the next ``set``; on the caller's side."""


class LoopSignal:
    """For a task that waits. To be made on its loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the task."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        """Wait for the next ``set``."""
        self._event.clear()

    async def wait(self) -> None:
        """Return when it is set."""
        await self._event.wait()


class Caller(Protocol):
    """How one kind of caller waits."""

    #: Whether its thread may be blocked.
    blocks: bool

    def signal(self) -> Any:
        """A signal that wakes this caller."""

    async def wait(self, signal: Any) -> None:
        """Return when a signal of this caller is set."""

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the background thread; cancelled there where this wait is ended."""

    async def done(self, future: futures.Future[Any]) -> None:
        """Return when a future is done, whatever it holds."""

    async def in_thread(self, blocking: Callable[[], T]) -> T:
        """Call what blocks."""

    async def pause(self) -> None:
        """Let other things of the caller go on now and then: plain iterators never do."""

    def start(self, work: Coroutine[Any, Any, None]) -> Callable[[], object]:
        """Run ``work`` at the same time; what is returned stops it, where that is possible."""


class _BlockingCaller:
    """A thread that blocks."""

    blocks = True

    def signal(self) -> threading.Event:
        return threading.Event()

    async def wait(self, signal: threading.Event) -> None:
        signal.wait()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return background().run(coroutine)

    async def done(self, future: futures.Future[Any]) -> None:
        futures.wait((future,))

    async def in_thread(self, blocking: Callable[[], T]) -> T:
        return blocking()

    async def pause(self) -> None:
        return

    def start(self, work: Coroutine[Any, Any, None]) -> Callable[[], object]:
        run = contextvars.copy_context().run
        threading.Thread(
            target=run, args=(finish, work), name="rekindle-map-inputs", daemon=True
        ).start()
        return lambda: None


BLOCKING = _BlockingCaller()


class LoopCaller:
    """A task of an event loop; one for each call."""

    blocks = False
    _PAUSE_EVERY = 64

    def __init__(self) -> None:
        self._count = 0

    def signal(self) -> LoopSignal:
        return LoopSignal()

    async def wait(self, signal: LoopSignal) -> None:
        await signal.wait()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return await background().arun(coroutine)

    async def done(self, future: futures.Future[Any]) -> None:
        done = LoopSignal()  # a future of the loop would have its error told, as nobody asks it
        future.add_done_callback(lambda _: done.set())
        await done.wait()

    async def in_thread(self, blocking: Callable[[], T]) -> T:
        return await asyncio.to_thread(blocking)

    async def pause(self) -> None:
        self._count += 1
        if self._count % self._PAUSE_EVERY == 0:
            await asyncio.sleep(0)

    def start(self, work: Coroutine[Any, Any, None]) -> Callable[[], object]:
        return asyncio.ensure_future(work).cancel


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of a caller that blocks to its end."""
    try:
        work.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise InternalFailure("a coroutine of a blocking caller has suspended")


class BlockingIterator(Iterator[T]):
    """The values of an async generator for a caller that blocks; ``what`` gave it."""

    #: What gave it, until it is iterated over; none where a signal came as it was made.
    _unused = ""

    def __init__(self, values: AsyncGenerator[T, None], what: str = "") -> None:
        self._values = values
        self._made_at = loop_warning.Place.of_caller() if what else None
        self._unused = what

    def __next__(self) -> T:
        self._unused = ""
        try:
            return finish(self._values.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None
        except BaseException as error:
            self.close()  # where a signal's came with a value on its way, that one would be missing
            user_frames.only(error)
            raise

    def close(self) -> None:
        """End it early: no more inputs are taken, what has not been run is cancelled."""
        self._unused = ""
        finish(self._values.aclose())

    def __del__(self) -> None:
        if self._unused and self._made_at is not None:
            _warn_unused(self._unused, "for", self._made_at)
        if hasattr(self, "_values"):
            self.close()


class LoopIterator(AsyncGenerator[T, None]):
    """The same for a task of an event loop."""

    #: What gave it, until it is iterated over; none where a signal came as it was made.
    _unused = ""

    def __init__(self, values: AsyncGenerator[T, None], what: str = "") -> None:
        self._values = values
        self._made_at = loop_warning.Place.of_caller() if what else None
        self._unused = what

    def __anext__(self) -> Coroutine[Any, Any, T]:
        return self.asend(None)

    async def asend(self, value: None) -> T:
        """The next value."""
        self._unused = ""
        try:
            return await self._values.asend(value)
        except BaseException as error:
            user_frames.only(error)
            raise

    def athrow(self, *error: Any) -> Coroutine[Any, Any, T]:
        """Raise an error where it is; it ends by that."""
        self._unused = ""
        return self._values.athrow(*error)

    def aclose(self) -> Coroutine[Any, Any, None]:
        """End it early, as ``close`` of the other one."""
        self._unused = ""
        return self._values.aclose()

    def __del__(self) -> None:
        if self._unused and self._made_at is not None:
            _warn_unused(self._unused, "async for", self._made_at)


def _warn_unused(what: str, loop: str, made_at: loop_warning.Place) -> None:
    """By the line that made it: where it is let go may be none of the user's."""
    made_at.warn(
        f"{what}(...) was never iterated, so nothing has run: write `{loop} item in {what}(...)`",
        NeverIteratedWarning,
    )
