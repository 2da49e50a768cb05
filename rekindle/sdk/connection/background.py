"""The one background thread of a program that uses rekindle: an event loop for all its I/O.

User code never runs here, except the printing of log lines. A forked child gets its own.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from rekindle import lazily
from rekindle.exception import Error, InvalidError
from rekindle.sdk import monkey_patched

if TYPE_CHECKING:
    import asyncio
    import logging
    from concurrent.futures import Future

    from rekindle.sdk.connection import work
    from rekindle.sdk.connection.work import Work
else:
    asyncio = lazily.module("asyncio")
    logging = lazily.module("logging")
    work = lazily.module("rekindle.sdk.connection.work")

T = TypeVar("T")

#: Closing what is open may take this long when the program ends.
_CLOSE_S = 2.0
#: One that is given up has so long to stop.
_ABANDON_S = 1.0


class Background:
    """A thread with an event loop.

    ``inherited``: this process was forked from one that had such a thread, and gRPC with it.
    """

    def __init__(self, inherited: bool = False) -> None:
        self.inherited = inherited
        self.loop = asyncio.new_event_loop()
        #: Held here, as the loop itself forgets what no one holds.
        self._running: set[asyncio.Task[Any]] = set()
        self._closers: dict[Callable[[], Coroutine[Any, Any, Any]], None] = {}
        self._thread = threading.Thread(target=self._main, name="rekindle", daemon=True)

    def begin(self) -> None:
        """Start the thread; it ends again where this is interrupted."""
        try:
            self._thread.start()
        except BaseException:
            self.loop.call_soon_threadsafe(self.loop.stop)
            raise

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it there and wait for it here; an interrupt here cancels it there."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise InvalidError(
                "a blocking rekindle call was made on rekindle's own thread; use its .aio form"
            )
        asked: Work[T] = work.Work(self.loop)
        try:
            self.loop.call_soon_threadsafe(self._begin, coroutine, asked)
            return asked.result()
        except BaseException:
            asked.cancel()
            raise

    def start(self, coroutine: Coroutine[Any, Any, T], what: str = "") -> Future[T]:
        """Run it there and do not wait for it; to cancel the future cancels it. An error of one
        that is ``what`` is logged as that.

        Not by ``asyncio.run_coroutine_threadsafe``: where a signal's exception comes before that
        returns, it may run there, and nobody has what cancels it."""
        asked: Work[T] = work.Work(self.loop)
        try:
            self.loop.call_soon_threadsafe(self._begin, coroutine, asked, what)
        except BaseException:
            asked.cancel()
            raise
        return asked

    def spawn(self, coroutine: Coroutine[Any, Any, object], what: str) -> Future[Any]:
        """The same for what nobody waits for."""
        return self.start(coroutine, what)

    def _begin(self, coroutine: Coroutine[Any, Any, T], asked: Work[T], what: str = "") -> None:
        if asked.cancelled():
            coroutine.close()
            return
        asked.task = task = self.loop.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(partial(_tell, asked, what))

    async def arun(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it there and await it on the caller's loop."""
        if asyncio.get_running_loop() is self.loop:
            return await coroutine
        return await asyncio.wrap_future(self.start(coroutine))

    def at_close(self, closer: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Await ``closer()`` before the loop ends, once."""
        self._closers[closer] = None

    def closed(self, closer: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """There is nothing to close for it any more."""
        self._closers.pop(closer, None)

    def close(self) -> None:
        """Close what is open, end the loop."""

        async def finish() -> None:
            for closer in list(self._closers):
                try:
                    await closer()
                except Exception:  # noqa: BLE001 - the others are to be closed all the same
                    logging.getLogger(__name__).warning("not closed in good order", exc_info=True)
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        try:
            self.start(finish()).result(_CLOSE_S)
        except TimeoutError:
            self._abandon()
            return
        except KeyboardInterrupt:  # the program is done: it ends at once
            self._abandon()
            raise
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_CLOSE_S)

    def _abandon(self) -> None:
        """End the loop as it is: what goes on there ends with the process, without a word."""

        def end() -> None:
            for task in asyncio.all_tasks():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
            self.loop.call_soon(self.loop.stop)  # a coroutine that never begins is warned of

        self.loop.call_soon_threadsafe(end)
        self._thread.join(_ABANDON_S)


def _tell(asked: Work[T], what: str, task: asyncio.Task[T]) -> None:
    """What became of a task, to whoever waits for it."""
    if task.cancelled():
        asked.cancel()
    if not asked.set_running_or_notify_cancel():
        return
    if (error := task.exception()) is None:
        asked.set_result(task.result())
        return
    if what:
        _log(error, what)
    asked.set_exception(error)


def _log(error: BaseException, what: str) -> None:
    log = logging.getLogger(__name__)
    if isinstance(error, Error):
        log.warning("a background task ended: %s: %s", what, error)
    else:
        log.error("a background task failed: %s", what, exc_info=error)


_lock = threading.Lock()
_current: Background | None = None
_inherited = False
#: What a forked child inherited and must not free: freeing gRPC's objects needs threads that were
#: not forked.
_of_parent: list[object] = []


def background() -> Background:
    """This process's background thread, started on first use. Raises MonkeyPatchedError."""
    global _current
    monkey_patched.refuse("a call of rekindle")
    if _current is None:
        with _lock:
            if _current is None:
                made = Background(_inherited)
                made.begin()
                _current = made
    return _current


def is_running() -> bool:
    """Whether something has used it already."""
    return _current is not None


def _forget_in_child() -> None:
    """The thread was not forked: the child starts its own when it needs one."""
    global _current, _inherited, _lock
    if _current is not None:
        _inherited = True
        _of_parent.append((_current, asyncio.all_tasks(_current.loop)))
    _current = None
    _lock = threading.Lock()


def _close_at_exit() -> None:
    if _current is not None:
        # The program is done: Ctrl-C has it end at once, which closes everything as well.
        with contextlib.suppress(KeyboardInterrupt):
            _current.close()


os.register_at_fork(after_in_child=_forget_in_child)
atexit.register(_close_at_exit)
