"""Waiting on an event loop for what arrives at descriptors, of which many take turns.

A loop's own ``add_reader`` and ``remove_reader`` take longer than the rest of a small call. Here
all descriptors of a loop are in one epoll, which is what the loop watches; one that is waited for
is armed, by one system call, and disarmed by what arrives. Knows nothing of calls.
"""

from __future__ import annotations

import os
import select
import weakref
from typing import TYPE_CHECKING

from rekindle import lazily

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = lazily.module("asyncio")

_ARMED = select.EPOLLIN | select.EPOLLONESHOT


class _Arrivals:
    """Of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        loop.add_reader(self._epoll.fileno(), self._arrived)

    def _arrived(self) -> None:
        for fd, _events in self._epoll.poll(0):
            ready = self._waiting.pop(fd, None)
            if ready is not None and not ready.done():
                ready.set_result(None)

    async def until_readable(self, fd: int) -> None:
        """Return when there is something to read, or an end."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[fd] = ready
        try:
            try:
                self._epoll.modify(fd, _ARMED)
            except FileNotFoundError:  # the first time; a closed descriptor leaves by itself
                self._epoll.register(fd, _ARMED)
            await ready
        finally:
            if self._waiting.get(fd) is ready:
                del self._waiting[fd]


_of: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Arrivals] = weakref.WeakKeyDictionary()


async def until_readable(fd: int) -> None:
    """Return when there is something to read at ``fd``, or an end."""
    loop = asyncio.get_running_loop()
    arrivals = _of.get(loop)
    if arrivals is None:
        arrivals = _of[loop] = _Arrivals(loop)
    await arrivals.until_readable(fd)


os.register_at_fork(after_in_child=_of.clear)
