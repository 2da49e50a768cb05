"""Cancellation in a runner: a signal that reaches the one input that it is meant for, or none.

The agent names the run (slice and index) in the page and sends the signal. The handler compares
that with the run that is armed, so a signal that comes late does nothing. In synchronous code it
raises InputCancellation in the main thread, as Ctrl-C raises KeyboardInterrupt; for an async
function it cancels the task. One that comes just before the main thread blocks, in a sleep or a
read, is seen by Python when that is over: so the agent sends it again until the page says that it
was heard. Code that never gets back to the interpreter is not reached: the agent ends the runner
after a grace time.

The signal is a real-time one that no one uses for anything else, installed when a process becomes
a runner, so that templates, snapshots and the user's own handlers know nothing of it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from rekindle.exception import InputCancellation
from rekindle.wire.page import CANCEL_SIGNAL, RunnerPage

if TYPE_CHECKING:
    import asyncio


# The interpreter's own: that of the module makes an enum of the handler that was there, which is a
# dozen functions, each for the first time in a new process.
_set_handler: Callable[..., object] = vars(signal)["_signal"].signal


class Awaited:
    """An async function that runs: its loop, and its task, once that is made."""

    __slots__ = ("loop", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.task: asyncio.Task[Any] | None = None


class Canceller:
    """What the handler looks at. ``armed`` is set while user code runs, and only then."""

    def __init__(self, page: RunnerPage) -> None:
        self._page = page
        #: The token of the run that may be cancelled; 0 for none.
        self.armed = 0
        #: Whether the run that was armed last was cancelled.
        self.hit = False
        #: The async function that runs, from before its task is made.
        self.awaited: Awaited | None = None

    def install(self) -> None:
        """Must be called on the main thread."""
        _set_handler(CANCEL_SIGNAL, self._on_signal)

    def disarm(self) -> None:
        """The run ends by itself: what it does to clean up is not interrupted."""
        self.armed, self.awaited = 0, None

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self.armed or self._page.cancelled != self.armed:
            return
        self._page.hear(self.armed)
        # Once for each run: what the user's code does to clean up is not interrupted again.
        self.armed = 0
        self.hit = True
        if self.awaited is None:
            raise InputCancellation("the input was cancelled")
        self.awaited.loop.call_soon_threadsafe(self._cancel_task, self.awaited)

    def _cancel_task(self, awaited: Awaited) -> None:
        if awaited is self.awaited and awaited.task is not None:
            awaited.task.cancel()
