"""The event loop of async hooks while its template is parked: at rest, and its clock stands still.

What such hooks make belongs to the loop: sessions, locks, queues, tasks that go on behind them. So
copies have the same loop, with their own descriptors in it (``forkserver/renewal.py``), and its
tasks and timers go on in each of them from where they stood. Loaded for programs with a loop alone.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

from rekindle.forkserver import exception_hooks, forking

#: What is ready to run has had its turn by then, or never rests.
_TURNS = 100
#: For connections that are being closed, and for threads of the loop's own that have no work.
_CLOSING_S, _LEAVING_S = 0.5, 1.0


class ParkedLoop:
    """A loop that rests. Its descriptors stay open: they are given to copies as all others are."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        _end_threads(loop)
        _let_rest(loop)
        self._loop = loop
        self._since_s = loop.time()

    def take_up(self) -> None:
        """In what is a runner from now on: its timers have the time left that they had."""
        slept_s = self._loop.time() - self._since_s
        for timer in getattr(self._loop, "_scheduled", ()):  # all by the same: their order stays
            timer._when += slept_s
        asyncio.set_event_loop(self._loop)  # Python's own handler at fork forgets it


def can_be_parked(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is asyncio's own: what another has open, and its timers, only that one knows."""
    return type(loop).__module__.partition(".")[0] == "asyncio"


def _end_threads(loop: asyncio.AbstractEventLoop) -> None:
    """A template with threads cannot be forked. The loop makes others when they are wanted."""
    executor: Any = getattr(loop, "_default_executor", None)
    if executor is None:
        return
    cast(Any, loop)._default_executor = None
    executor.shutdown(wait=False)
    until = time.monotonic() + _LEAVING_S
    for thread in list(executor._threads):
        thread.join(max(0.0, until - time.monotonic()))


def _let_rest(loop: asyncio.AbstractEventLoop) -> None:
    """Have done what is to be done at once: callbacks, and the end of connections."""
    for _ in range(_TURNS):
        _run(loop, 0)
        if not getattr(loop, "_ready", ()):
            break
    until = time.monotonic() + _CLOSING_S
    while _has_connections(loop) and time.monotonic() < until:
        _run(loop, 0.01)


def _has_connections(loop: asyncio.AbstractEventLoop) -> bool:
    transports = getattr(loop, "_transports", {})
    return any(getattr(one, "_sock", None) is not None for one in list(transports.values()))


def _run(loop: asyncio.AbstractEventLoop, delay_s: float) -> None:
    try:
        loop.run_until_complete(asyncio.sleep(delay_s))
    except BaseException as error:  # noqa: BLE001 - of a task that nobody waits for
        forking.end_users_child(error)
        exception_hooks.print_error(error)
    forking.end_users_child()
