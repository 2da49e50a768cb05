"""What processes of user code have left behind, in a runner that is PID 1 of its namespace.

A process whose parent ended before it becomes a child of PID 1, and stays in the process table when
it ends until PID 1 has waited for it. A forked runner is PID 1 itself: an init above it would be a
process more with each start. So it looks for such children between calls, now and then.

User code's own children are user code's to wait for, and nothing of Linux says which are. But a
process that is forked is in the session of its parent, and nobody can enter another than one of its
own: what is in neither this process's session nor its own is the child of another, which has made
that session, as daemons do. That alone is collected. Standard library only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress

from rekindle.linux import processes

#: Between two looks. The first is so long after the first call.
_PAUSE_NS = 1_000_000_000
_INIT = 1
_HAS_ENDED = os.WEXITED | os.WNOHANG | os.WNOWAIT


class Orphans:
    """Those of this process, from its first call on."""

    __slots__ = ("_due_ns",)

    def __init__(self) -> None:
        self._due_ns = 0

    def look(self, now_ns: int) -> None:
        """Between two calls, at ``now_ns`` (perf_counter_ns): collect what has ended, where it is
        time for that."""
        if now_ns < self._due_ns:
            return
        is_first, self._due_ns = not self._due_ns, now_ns + _PAUSE_NS
        if not is_first:
            if os.getpid() == _INIT:
                _collect()
            else:
                self._due_ns = sys.maxsize  # what is left to somebody is left to another


def _collect() -> None:
    # There is none, or user code has waited for it, or has left no descriptor, or no /proc.
    with suppress(OSError):
        # One system call, where nothing has ended, and where user code adopts orphans itself two.
        if os.waitid(os.P_ALL, 0, _HAS_ENDED) is None or processes.adopts_orphans():
            return
        for pid in _ended_orphans():
            os.waitpid(pid, os.WNOHANG)


def _ended_orphans() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with suppress(FileNotFoundError, ProcessLookupError):  # it has gone meanwhile
            with open(f"/proc/{name}/stat", "rb") as file:
                state, parent, _group, session = file.read().rpartition(b") ")[2].split()[:4]
            pid = int(name)
            if state == b"Z" and int(parent) == _INIT and int(session) not in (_INIT, pid):
                yield pid
