"""Waits until one of a few descriptors can be read, whatever their numbers."""

from __future__ import annotations

import math
import select
from collections.abc import Iterable


def readable(fds: Iterable[int], timeout_s: float | None = None) -> set[int]:
    """Those of ``fds`` that can be read, or whose other end is gone; none once the time is over.

    By poll(2): select(2), which the standard library's ``select.select`` is, knows no descriptor
    from 1,024 on, and a program or an agent may have more.
    """
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    limit_ms = None if timeout_s is None else math.ceil(max(timeout_s, 0.0) * 1000)
    return {fd for fd, _events in poll.poll(limit_ms)}
