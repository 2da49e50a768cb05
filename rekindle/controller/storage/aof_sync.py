"""Flushes the embedded Redis's append-only file to disk every second, from outside of Redis.

Why not ``appendfsync everysec``: under that policy Redis *delays its write(2)* by up to two
seconds while a flush of its own is still running, and answers clients meanwhile. A SIGKILL then
loses what was acknowledged. With ``appendfsync no`` Redis writes before it answers, always, so a
killed Redis loses nothing; and since this thread flushes the file, a power cut loses about a
second, as with ``everysec``.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

INTERVAL_S = 1.0


class AofSync:
    """A thread that flushes the append-only files of a directory while they grow."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="aof-sync", daemon=True)
        self._synced: dict[Path, tuple[int, int]] = {}
        self._failed = False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Flush once more and end."""
        self._ending.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._ending.wait(INTERVAL_S):
            self.sync()
        self.sync()

    def sync(self) -> None:
        """Flush the files that have changed since the last time."""
        # One file in Redis 6; base and increments in appendonlydir/ since Redis 7.
        paths = [*self._directory.glob("*.aof"), *self._directory.glob("appendonlydir/*.aof")]
        self._synced = {path: mark for path, mark in self._synced.items() if path in paths}
        for path in paths:
            try:
                self._sync_one(path)
                self._failed = False
            except FileNotFoundError:
                continue  # rewritten and removed meanwhile
            except OSError as error:
                if not self._failed:
                    log.error("cannot flush to disk", extra=kv(path=path, reason=error))
                self._failed = True

    def _sync_one(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            info = os.fstat(fd)
            mark = (info.st_ino, info.st_size)
            if self._synced.get(path) != mark:
                os.fdatasync(fd)
                self._synced[path] = mark
        finally:
            os.close(fd)
