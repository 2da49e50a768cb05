"""How nice processes are, and whether they can be made less so. Standard library only.

Not loaded by templates: each module of theirs is memory that every fork pays.
"""

from __future__ import annotations

import contextlib
import os
import resource

from rekindle.linux import processes

_CAP_SYS_NICE = 23
_OF_ALL_USERS = ["0", "0", "4294967295"]


def may_lower() -> bool:
    """Whether processes that were made nicer than this one can be made as it is again."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NICE)
    if soft == resource.RLIM_INFINITY or soft >= 20 - os.getpriority(os.PRIO_PROCESS, 0):
        return True
    if not int(processes.status()["CapEff"], 16) >> _CAP_SYS_NICE & 1:
        return False
    with open("/proc/self/uid_map") as users:  # in a user namespace it is worth nothing
        return users.read().split() == _OF_ALL_USERS


def as_this_process(pid: int) -> None:
    """Give all threads of a process this one's niceness. Raises OSError."""
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.setpriority(os.PRIO_PROCESS, int(thread), niceness)
