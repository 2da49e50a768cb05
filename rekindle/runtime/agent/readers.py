"""Descriptors from which something is read as soon as it comes: an epoll of their own in the loop.

The loop's own readers take a handle, a context and an entry of its selector each, and as long to be
made as all else that is done with a connection; a start has three, and they are gone with it.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Callable

log = logging.getLogger(__name__)

#: In one turn of the loop.
_AT_ONCE = 8


class Readers:
    """Of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._calls: dict[int, Callable[[], object]] = {}
        #: None while nothing is watched.
        self._epoll: select.epoll | None = None

    def add(self, fd: int, call: Callable[[], object]) -> None:
        """Call whenever something can be read, or its end. It may be called once too often."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self.loop.add_reader(self._epoll.fileno(), self._come)
        self._epoll.register(fd, select.EPOLLIN)
        self._calls[fd] = call

    def remove(self, fd: int) -> None:
        """Not any more; nothing where it is not watched. Before it is closed."""
        if self._calls.pop(fd, None) is None or self._epoll is None:
            return
        self._epoll.unregister(fd)
        if not self._calls:
            self.loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _come(self) -> None:
        assert self._epoll is not None
        for fd, _events in self._epoll.poll(0, _AT_ONCE):
            if (call := self._calls.get(fd)) is None:
                continue  # removed by one before it
            try:
                call()
            except Exception:  # the others have their turn in any case
                log.exception("internal error")


_here: Readers | None = None


def here() -> Readers:
    """Those of the loop that runs; an agent has one."""
    global _here
    loop = asyncio.get_running_loop()
    if _here is None or _here.loop is not loop:
        _here = Readers(loop)
    return _here
