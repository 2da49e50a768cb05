"""Who uses a snapshot, and when it was used last.

Both hang on one empty file next to the images. Its time is that of the last use; a shared flock on
it is a pin, which goes with the process that holds it, however that ends.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rekindle.linux import files

NAME = "used"


@dataclass
class Pin:
    """As long as it is held, the snapshot is not removed to make room. Release it once."""

    key: str
    _fd: int

    def release(self) -> None:
        """Let go of the snapshot. May be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def begin(directory: Path) -> None:
    """Put the file into a draft. Raises OSError."""
    os.close(os.open(directory / NAME, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def touch(directory: Path) -> None:
    """Note that the snapshot is used now; nothing when it is gone."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(os.path.join(directory, NAME))


def last(directory: Path) -> float:
    """When it was used last, or made, in seconds of CLOCK_REALTIME; 0 when that is not known."""
    try:
        return os.stat(directory / NAME).st_mtime
    except OSError:
        return 0.0


def pin(directory: Path) -> Pin | None:
    """Pin the snapshot in ``directory``; None when it is gone."""
    try:
        path = os.path.join(directory, NAME)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        files.lock(fd, shared=True)  # a claim is short: small files are written, or a rename
        # Between the two calls it can have been removed, and another one put in its place.
        if os.path.samestat(os.fstat(fd), os.stat(path)):
            return Pin(directory.name, fd)
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


@contextlib.contextmanager
def claim(directory: Path) -> Iterator[bool]:
    """Keep others from pinning the snapshot in the block; False when it is pinned.

    Whoever waits for a pin gets it after the block, if the snapshot is still there.
    """
    try:
        fd = os.open(directory / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True  # without the file no one can
        return
    try:
        yield files.try_lock(fd)
    finally:
        os.close(fd)


def is_pinned(directory: Path) -> bool:
    """Whether a pin is held at this moment, or may be: nobody can look."""
    try:
        with claim(directory) as free:
            return not free
    except OSError:
        return True
