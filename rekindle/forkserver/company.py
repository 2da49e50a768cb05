"""Other processes and System V objects in the namespaces of a template.

Neither comes along to a copy: a fork leaves them with the template, and a snapshot is of one
process alone.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

_SYSV = {"shm": "shared memory", "sem": "semaphores", "msg": "message queue"}


def other_processes(*, in_sandbox: bool) -> list[int]:
    """Children; in a sandbox also what else lives there (a daemon that left its parent)."""
    found = set(_children())
    if in_sandbox:
        found |= {int(name) for name in os.listdir("/proc") if name.isdigit()}
        found -= {1, os.getpid()}
    return sorted(found)


def in_words(pid: int) -> str:
    """``child process 12 (sleep) is alive``."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            name, _, rest = file.read().partition("(")[2].rpartition(")")
    except OSError:
        return f"child process {pid} is alive"
    if rest.split()[0] == "Z":
        return f"child process {pid} ({name}) has ended and was not waited for"
    return f"child process {pid} ({name}) is alive"


def _children() -> list[int]:
    path = f"/proc/self/task/{os.getpid()}/children"
    try:
        with open(path) as children:
            return [int(pid) for pid in children.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return []


def system_v_objects() -> list[str]:
    """Those of this IPC namespace, in words; for a process that has one of its own."""
    found = []
    for name, words in _SYSV.items():
        try:
            with open(f"/proc/sysvipc/{name}") as table:
                lines = table.readlines()[1:]
        except FileNotFoundError:
            continue
        found += [f"System V {words} {line.split()[1]}" for line in lines]
    return found


def end_resource_tracker() -> None:
    """End multiprocessing's resource tracker, a child that outlives no copy.

    It would remove at its end what it tracks, all of which lies in this sandbox's own /dev/shm; the
    next use starts another one. By SIGKILL, so that it removes nothing now.
    """
    module: Any = sys.modules.get("multiprocessing.resource_tracker")
    tracker: Any = getattr(module, "_resource_tracker", None)
    pid, fd = getattr(tracker, "_pid", None), getattr(tracker, "_fd", None)
    if tracker is None or not pid or fd is None:
        return
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(fd)
    tracker._pid = tracker._fd = None
