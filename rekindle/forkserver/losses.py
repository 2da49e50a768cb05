"""State of a process that a fork would lose, or change, and that is no open thing.

Read once, when a template parks. Whoever has such state is not forked; what a restore would lose as
well is said apart. Knows nothing of the table of open things.
"""

from __future__ import annotations

import os
import signal
import stat

from rekindle.forkserver.descriptors import OpenFile
from rekindle.forkserver.kinds import INNER_SOCKETS
from rekindle.forkserver.wiped import areas_with
from rekindle.linux import capabilities, processes

_FASYNC = 0o20000
#: Options of Unix sockets that a new pair does not have, with their number and what is usual.
_OPTIONS = (
    ("SO_RCVLOWAT", 18, 1),
    ("SO_PEEK_OFF", 42, -1),
    ("SO_PASSSEC", 34, 0),
    ("SO_PRIORITY", 12, 0),
    ("SO_MARK", 36, 0),
)

Standard = list[tuple[int, int]]


def standard_streams() -> Standard:
    """What descriptors 0, 1 and 2 stand for; (-1, -1) for one that is closed."""
    found = []
    for fd in range(3):
        try:
            status = os.fstat(fd)
        except OSError:
            found.append((-1, -1))
        else:
            found.append((status.st_dev, status.st_ino))
    return found


def replaced_streams(given: Standard) -> list[str]:
    """Standard descriptors that user code made stand for something else than the null device.

    A runner's output goes through these numbers, so no copy can keep them.
    """
    reasons = []
    for fd, (before, now) in enumerate(zip(given, standard_streams(), strict=True)):
        if now not in (before, (-1, -1)) and not _is_null(fd):
            reasons.append(f"descriptor {fd} stands for {os.readlink(f'/proc/self/fd/{fd}')}")
    return reasons


def _is_null(fd: int) -> bool:
    status = os.fstat(fd)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.stat("/dev/null").st_rdev


def given_up_privileges() -> str:
    """Why nothing can be isolated any more, "" where it can."""
    effective, _permitted = capabilities.current()
    if effective >> capabilities.CAP_SYS_ADMIN & 1:
        return ""
    return f"it gave up its privileges (uid {os.geteuid()})"


def lost_by_fork(files: list[OpenFile]) -> list[str]:
    """Reasons not to fork."""
    reasons = [f"signal {number} is pending" for number in _pending_signals()]
    if areas_with({"dc"}):
        reasons.append("memory is marked to be left out of forks (MADV_DONTFORK)")
    for one in files:
        if one.flags & _FASYNC:
            reasons.append(f"fd {one.fd} sends signals (O_ASYNC)")
        if one.kind is INNER_SOCKETS:
            reasons += _odd_options(one)
    return reasons


def _odd_options(one: OpenFile) -> list[str]:
    import socket

    with socket.socket(fileno=os.dup(one.fd)) as end:
        return [
            f"fd {one.fd} is a socket with {name}"
            for name, number, usual in _OPTIONS
            if end.getsockopt(socket.SOL_SOCKET, number) != usual
        ]


def _pending_signals() -> list[str]:
    status = processes.status()
    pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
    return [_name(number) for number in range(1, signal.NSIG) if pending >> (number - 1) & 1]


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)  # a real-time one
