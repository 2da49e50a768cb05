"""State of a process that is no open file: streams, privileges, signals, timers, other processes.

Looked at when a template parks. A fork leaves some of it behind with the template, and a snapshot
is of one process alone: a process with such state is not copied, and the reason is reported. Timers
are stopped while the template waits, as one that fires would end it, and go on in each copy.
"""

from __future__ import annotations

import os
import signal
import socket
import stat

from rekindle.forkserver import sockets
from rekindle.forkserver.kinds import INNER_SOCKETS
from rekindle.forkserver.open_files import OpenFile
from rekindle.forkserver.wiped import areas_with
from rekindle.linux import capabilities, limits, processes

#: Libraries with such sockets (``monkey.patch_all()``, ``monkey_patch()``).
_LOOPS = ("gevent", "eventlet")

#: A template has one for each of its runners, and those that it passes on.
FEWEST_FILES = 256

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


def looping_sockets() -> str:
    """Whose sockets are in place of Python's, where they wait by a loop of their library; "" for
    none. No copy has that loop: a template that takes orders by it would not answer any more.
    """
    module = socket.socket.__module__
    library = module.partition(".")[0]
    return f"{library} has replaced Python's sockets" if library in _LOOPS else ""


def given_up_privileges() -> str:
    """Why nothing can be isolated any more, "" where it can."""
    effective, _permitted = capabilities.current()
    if effective >> capabilities.CAP_SYS_ADMIN & 1:
        return ""
    return f"it gave up its privileges (uid {os.geteuid()})"


def few_files(given: int) -> list[str]:
    """Why this process cannot look after copies: user code has taken too many descriptors from it.
    ``given``: how many it might have when it booted."""
    now = limits.open_files()
    if now >= min(given, FEWEST_FILES):
        return []
    return [f"it may have {now} open files at most (RLIMIT_NOFILE), a template {FEWEST_FILES}"]


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
    with sockets.look_at(one.fd) as end:
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


_SYSV = {"shm": "shared memory", "sem": "semaphores", "msg": "message queue"}


def other_processes(*, in_sandbox: bool) -> list[int]:
    """Children; in a sandbox also what else lives there (a daemon that left its parent)."""
    found = set(_children())
    if in_sandbox:
        found |= {int(name) for name in os.listdir("/proc") if name.isdigit()}
        found -= {1, os.getpid()}
    return sorted(found)


def process_in_words(pid: int) -> str:
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


_WHICH = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

#: Which timer, seconds until it fires, seconds between firings.
Timer = tuple[int, float, float]


def stop_timers() -> list[Timer]:
    """Stop the interval timers and alarms; what was left of each."""
    running = [(which, *signal.getitimer(which)) for which in _WHICH]
    running = [timer for timer in running if timer[1]]
    for which, _left, _interval in running:
        signal.setitimer(which, 0)
    return running


def start_timers(timers: list[Timer]) -> None:
    """Go on where they were stopped."""
    for which, left, interval in timers:
        signal.setitimer(which, left, interval)


def posix_timers() -> list[str]:
    """The ids of timers made with timer_create, which no fork inherits."""
    try:
        with open("/proc/self/timers") as timers:
            return [line.split()[1] for line in timers if line.startswith("ID:")]
    except FileNotFoundError:  # a kernel without CONFIG_CHECKPOINT_RESTORE
        return []
