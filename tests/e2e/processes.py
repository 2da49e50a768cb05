"""Finds processes of an instance among the descendants of its supervisor."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil

from tests.e2e.harness import wait_until


def redis_of(supervisor: psutil.Process) -> psutil.Process:
    """The Redis server of an instance."""

    def find() -> psutil.Process | None:
        for child in supervisor.children(recursive=True):
            with suppress(psutil.Error):
                if any(
                    "redis-server" in word or "valkey-server" in word
                    for word in [child.name(), *child.cmdline()[:1]]
                ):
                    return child
        return None

    found: psutil.Process = wait_until(find, "a Redis server")
    return found


def holder_of(above: psutil.Process, file: Path) -> psutil.Process:
    """The descendant that has ``file`` open."""

    def find() -> psutil.Process | None:
        for child in above.children(recursive=True):
            with suppress(psutil.Error, OSError):
                for fd in os.listdir(f"/proc/{child.pid}/fd"):
                    with suppress(OSError):
                        if os.readlink(f"/proc/{child.pid}/fd/{fd}") == str(file):
                            return child
        return None

    found: psutil.Process = wait_until(find, f"a process that has {file.name} open")
    return found
