"""The lock of a store: held for moments, by whoever adds, moves or removes names in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

NAME = ".lock"


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Be the only one, among all processes and threads, that changes the store in ``root``.

    Goes with the process. Not to be taken twice by one thread.
    """
    fd = os.open(root / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
