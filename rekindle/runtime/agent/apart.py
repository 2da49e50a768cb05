"""Work that may never end, as it asks a store or a file system that may not answer.

Each piece has a thread of its own, so that only who wants it waits, and an agent that ends leaves
the thread behind: for those of asyncio's pool a process waits at its end.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def apart(work: Callable[[], T]) -> T:
    """What ``work`` gives or raises."""
    found: Future[T] = Future()
    found.set_running_or_notify_cancel()  # who waits may be cancelled, the work cannot be

    def run() -> None:
        try:
            found.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            found.set_exception(error)

    threading.Thread(target=run, name="apart", daemon=True).start()
    return await asyncio.wrap_future(found)
