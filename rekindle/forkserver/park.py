"""Parking: make the process quiet and small, and wait on the control pipe.

It is the one pipe that a parked process holds. CRIU can freeze a process with it as it is, and
gives a restored copy a new pipe in its place. A line of JSON is written to it, the orders: where to
connect, and as whom.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Collection
from typing import Any

from rekindle.forkserver import code_areas, holes, thread_pools
from rekindle.linux import memory

#: The descriptor of the control pipe in every template.
CONTROL_FD = 3


def read_orders() -> dict[str, Any]:
    """Block until a line of orders comes. Raises EOFError when no one holds the control pipe."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(CONTROL_FD, 4096)
        if not piece:
            raise EOFError("the control pipe was dropped")
        line += piece
    orders: dict[str, Any] = json.loads(line)
    return orders


def quiesce() -> None:
    """Stop helper threads that know how to stop, and give back what is not needed."""
    _stop_progress_monitors()
    thread_pools.find_pools()
    keep_from_collecting()
    gc.collect()
    # Objects that live now are never looked at again by the collector, so that runners do not
    # copy their pages by writing collector marks into them.
    gc.freeze()
    memory.return_freed_memory()
    holes.fill()
    code_areas.join()


_collects = False


def keep_from_collecting() -> None:
    """No collection in a copy before it serves: it would write to what the copy was given."""
    global _collects
    if gc.isenabled():
        _collects = True
        gc.disable()


def collect_again() -> None:
    """In a runner that is ready: as it was before the park."""
    global _collects
    if _collects:
        _collects = False
        # What was made on the way here is counted: the first object that is made next would have
        # all of it looked at, and written to.
        gc.freeze()
        gc.enable()


def _stop_progress_monitors() -> None:
    """tqdm's monitor thread ends by its own ``exit``, and is started again by the next bar."""
    threading = sys.modules.get("threading")
    if threading is None or "tqdm" not in sys.modules:
        return
    for thread in threading.enumerate():
        if type(thread).__name__ == "TMonitor" and hasattr(thread, "exit"):
            thread.exit()


#: Descriptor -> 1 or 2: duplicates of standard output and error that user code made.
_followers: dict[int, int] = {}


def follow_output(fds: Collection[int]) -> None:
    """``fds`` go where standard output and error go, in every copy, too."""
    error = os.fstat(2)
    for fd in fds:
        is_error = os.path.samestat(os.fstat(fd), error)
        _followers[fd] = 2 if is_error else 1


def _point(standard: int, fd: int) -> None:
    """Make a standard descriptor, and what follows it, stand for what ``fd`` stands for."""
    os.dup2(fd, standard)
    for follower, followed in _followers.items():
        if followed == standard:
            os.dup2(fd, follower, inheritable=os.get_inheritable(follower))


def let_go_of_output() -> None:
    """Point 0, 1 and 2 at the null device: a log pipe must not be frozen into a snapshot."""
    flush_output()
    null = os.open("/dev/null", os.O_RDWR)
    for standard in range(3):
        _point(standard, null)
    os.close(null)


def take_output(stdout_fd: int, stderr_fd: int) -> None:
    """Write to these from now on."""
    flush_output()
    _point(1, stdout_fd)
    _point(2, stderr_fd)
    for fd in (stdout_fd, stderr_fd):
        os.close(fd)


def flush_output() -> None:
    """Flush Python's buffers; a stream that the user closed, or made, may fail as it likes."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # noqa: BLE001 - where could it be said?
            continue  # closed, replaced or its reader gone: nothing of ours to save
