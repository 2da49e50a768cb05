"""A process that has no descriptor left, or a few, as a test wants it."""

from __future__ import annotations

import errno
import gc
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def descriptors(left: int) -> Iterator[None]:
    """Within, this process can open so many more, also where what the tests before it left open is
    as many as it may have; and no more as some of that is collected meanwhile."""
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        most = max(map(int, os.listdir("/proc/self/fd")))
        while True:
            most += left + 8
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            _take_all(taken)
            if len(taken) >= left:  # and no other thread was first
                break
        for _ in range(left):
            os.close(taken.pop())
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if collects:
            gc.enable()


def _take_all(taken: list[int]) -> None:
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        assert error.errno == errno.EMFILE
