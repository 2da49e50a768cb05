"""Flushes the embedded Redis's append-only file to disk every second, from outside of Redis.

Why not ``appendfsync everysec``: under that policy Redis *delays its write(2)* by up to two
seconds while a flush of its own is still running, and answers clients meanwhile. A SIGKILL then
loses what was acknowledged. With ``appendfsync no`` Redis writes before it answers, always, so a
killed Redis loses nothing; and since this thread flushes the file, a power cut loses about a
second, as with ``everysec``.

What could not be flushed is not on disk, and a flush that succeeds later does not mean that it is:
the kernel tells of a failure once and then takes the pages for clean. So the server is to write
its file anew, from memory, and until the damaged one is gone nothing that it writes is relied on.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
#: Between two requests to write the file anew.
_ASK_AGAIN_S = 5.0


class AofSync:
    """A thread that flushes the append-only files of a directory while they grow."""

    def __init__(self, directory: Path, write_anew: Callable[[], None] = lambda: None) -> None:
        """``write_anew``, called in the thread, has the server write its file from memory."""
        self._directory = directory
        self._write_anew = write_anew
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="aof-sync", daemon=True)
        #: Inode and size as of the last flush.
        self._synced: dict[Path, tuple[int, int]] = {}
        #: Files of which something is not on disk, by inode, and why.
        self._damaged: dict[int, str] = {}
        self._asked = 0.0
        self._unsafe = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Flush once more and end."""
        self._ending.set()
        self._thread.join(timeout=5)

    def unsafe(self) -> str:
        """Why what the server has written may not be on disk; empty while it is."""
        return self._unsafe

    def _run(self) -> None:
        while not self._ending.wait(INTERVAL_S):
            self.sync()
        self.sync()

    def sync(self) -> None:
        """Flush the files that have changed since the last time."""
        there: set[int] = set()
        reason = ""
        try:
            for path in self._files():
                there.add(self._sync_one(path))
        except OSError as error:  # no descriptor left, say: the next time
            reason = f"its append-only file cannot be flushed to disk: {error}"
        else:
            self._damaged = {one: why for one, why in self._damaged.items() if one in there}
            reason = next(iter(self._damaged.values()), "")
        if reason and not self._unsafe:
            log.error("cannot flush to disk", extra=kv(path=self._directory, reason=reason))
        elif self._unsafe and not reason:
            log.info("all is on disk again", extra=kv(path=self._directory))
        self._unsafe = reason
        if self._damaged and time.monotonic() - self._asked > _ASK_AGAIN_S:
            self._asked = time.monotonic()
            self._write_anew()

    def _files(self) -> list[Path]:
        # One file in Redis 6; base and increments in appendonlydir/ since Redis 7.
        found: list[Path] = []
        for directory in (self._directory, self._directory / "appendonlydir"):
            try:
                names = os.listdir(directory)
            except FileNotFoundError:  # no server has been here yet
                continue
            found += [directory / name for name in sorted(names) if name.endswith(".aof")]
        return found

    def _sync_one(self, path: Path) -> int:
        """The file's inode; 0 where it was rewritten and removed meanwhile."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._synced.pop(path, None)
            return 0
        try:
            info = os.fstat(fd)
            mark = (info.st_ino, info.st_size)
            if self._synced.get(path) == mark:
                return info.st_ino
            try:
                os.fdatasync(fd)
            except OSError as error:
                self._damaged[info.st_ino] = f"{path.name} could not be flushed to disk: {error}"
            else:
                self._synced[path] = mark
            return info.st_ino
        finally:
            os.close(fd)
