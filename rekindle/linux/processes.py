"""This process and others: the parent's death, and what /proc says of a process."""

from __future__ import annotations

import ctypes
import os
import signal

from rekindle.linux.libc import check, libc

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37


def fork_beside_threads() -> int:
    """As os.fork(), without the warning of other threads, for who has looked at them.

    Python 3.12 and later give it, and raise it in the parent, which then does not know its child,
    where each warning is to raise (``PYTHONWARNINGS=error``).
    """
    import warnings  # not before it is needed: templates do without

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def die_with_parent(expected_parent: int | None = None) -> None:
    """Get SIGKILL when the thread that forked this process ends.

    ``expected_parent`` closes the race with a parent that was gone before the call.
    """
    check(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
    if expected_parent is not None and os.getppid() != expected_parent:
        os._exit(1)


def outlive_parent() -> None:
    """Take ``die_with_parent`` back."""
    check(libc.prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def adopt_orphans() -> None:
    """Become the parent of whatever this process's descendants leave without one."""
    check(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def adopts_orphans() -> bool:
    """Whether this process has asked for that (PID 1 of a namespace does it in any case)."""
    answer = ctypes.c_int()
    asked = libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    check(asked, "prctl(PR_GET_CHILD_SUBREAPER)")
    return bool(answer.value)


def status(pid: int | str = "self") -> dict[str, str]:
    """/proc/PID/status: name -> value, as text. Raises OSError.

    In the default encoding: another would load its codec, maybe after the right to read it is gone.
    """
    with open(f"/proc/{pid}/status", errors="replace") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def parent_of(pid: int) -> int:
    """The parent of a process. Raises OSError where there is none of that id."""
    return int(status(pid)["PPid"])


def pid_of(pidfd: int) -> int:
    """A process's number in our own PID namespace; -1 when it has gone. Raises OSError."""
    fd = os.open(f"/proc/self/fdinfo/{pidfd}", os.O_RDONLY | os.O_CLOEXEC)  # for each start
    try:
        _, found, rest = os.read(fd, 512).partition(b"\nPid:")
    finally:
        os.close(fd)
    if not found:
        raise OSError("this kernel reports no process id of a pidfd")
    return int(rest.split(None, 1)[0])
