"""Signals between the background thread and a caller: one for threads, one for tasks.

They are alike but for their ``wait``. Know nothing of calls.
"""

from __future__ import annotations

import asyncio
import threading


class Signal(threading.Event):
    """For a thread that waits; set from any."""


class AioSignal:
    """For a task that waits; set from any thread. To be made on the task's loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the task."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        """Wait anew; on the task's loop."""
        self._event.clear()

    async def wait(self) -> None:
        """Return when it is set."""
        await self._event.wait()
