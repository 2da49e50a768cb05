"""Waits until a process of user code that was just started reports to its agent.

Knows nothing of how it was started.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from rekindle.exception import StartError, StartupTimeoutError
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.runtime.isolation.sandbox import JobExit

#: Process id of a template in its namespace. A restored process needs the ids that it had, so it
#: keeps clear of the small ones: init is 1, and CRIU's own processes follow.
FIRST_PID = 100
#: From exec to our first line; a slow disk and a cold page cache included.
CONNECT_TIMEOUT_S = 60.0


class KilledEarlyError(StartError):
    """A process was killed before any user code ran in it: by whoever makes room in memory, say."""


async def reported(
    arrival: asyncio.Future[Channel], job: asyncio.Future[JobExit], timeout_s: float, what: str
) -> Channel:
    """The channel of a process that was just started, once it reports.

    ``arrival``: its channel; ``job``: its end; ``what`` names it in errors. Raises StartError when
    it ends instead (KilledEarlyError where it was killed), StartupTimeoutError after ``timeout_s``.
    """
    either: set[asyncio.Future[Any]] = {arrival, job}
    await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    if arrival.done():
        return arrival.result()
    if job.done():
        ended = job.result()
        kind = KilledEarlyError if ended.status == -signal.SIGKILL else StartError
        raise kind(f"{what} ended before it reported: {ended.in_words()}")
    raise StartupTimeoutError(f"{what} did not report within {timeout_s:g} s")
