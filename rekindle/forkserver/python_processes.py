"""Processes that multiprocessing starts for itself: its resource tracker and its fork server.

User code that has used it need not know of them, and no copy can have them. So they are ended when
a template parks; the next use, in each runner, starts others.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Collection
from typing import Any


def end_all(others: Collection[int]) -> None:
    """End those that there are. ``others``: processes beside this one, theirs among them.

    A fork server stays where it has children: they are the user's to end, and it tells how they do.
    """
    server: Any = _global("multiprocessing.forkserver", "_forkserver")
    tracker: Any = _global("multiprocessing.resource_tracker", "_resource_tracker")
    own = {getattr(server, "_forkserver_pid", None), getattr(tracker, "_pid", None)}
    if own.issuperset(others):
        _end_fork_server(server)
    _end_resource_tracker(tracker)
    _leave_directory()


def _global(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)


def _end_fork_server(server: Any) -> None:
    """From Python 3.14 on each pool has one, unless it asks for another start method."""
    pid, fd = (
        getattr(server, "_forkserver_pid", None),
        getattr(server, "_forkserver_alive_fd", None),
    )
    if server is None or not pid or fd is None:
        return
    _kill(pid)
    os.close(fd)
    with contextlib.suppress(OSError, TypeError, ValueError):  # an abstract one is no file
        os.unlink(server._forkserver_address)
    server._forkserver_pid = server._forkserver_alive_fd = server._forkserver_address = None


def _leave_directory() -> None:
    """What sockets lie in: removed where none is left, and each copy makes one of its own."""
    util: Any = sys.modules.get("multiprocessing.util")
    for key, finalizer in list(getattr(util, "_finalizer_registry", {}).items()):
        if finalizer._callback is util._remove_temp_dir:
            if not os.listdir(util.get_temp_dir()):
                finalizer()
                return
            del util._finalizer_registry[key]
            sys.modules["multiprocessing.process"].current_process()._config["tempdir"] = None


def _end_resource_tracker(tracker: Any) -> None:
    """It would remove at its end what it tracks, all of which lies in this sandbox's own /dev/shm.

    By SIGKILL, so that it removes nothing now.
    """
    pid, fd = getattr(tracker, "_pid", None), getattr(tracker, "_fd", None)
    if tracker is None or not pid or fd is None:
        return
    _kill(pid)
    os.close(fd)
    tracker._pid = tracker._fd = None


def _kill(pid: int) -> None:
    # User code may have waited for all children, and so for these, too.
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
