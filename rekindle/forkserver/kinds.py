"""The table of open things: what each kind means for copies of a template.

A copy comes to be by a fork (it shares every kernel object with its template, unless that is made
again for it) or by a restore (CRIU makes every object again, unless it lies outside the process).
What the table does not name is neither forked nor frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class OnFork(Enum):
    """What becomes of a thing in a forked copy."""

    SHARE = "share"  # nothing in it can change
    RENEW = "renew"  # the copy gets one of its own in the same state
    REFUSE = "refuse"  # no fork


class OnFreeze(Enum):
    """What becomes of a thing in a restored copy."""

    OWN = "own"  # CRIU gives each copy its own
    REFUSE = "refuse"  # no snapshot


@dataclass(frozen=True)
class Kind:
    """A kind of open thing."""

    name: str
    on_fork: OnFork
    on_freeze: OnFreeze
    #: What its owner can do where it is refused.
    remedy: str = "open it in @enter(snap=False) instead, or close it before the hook returns"


_SHARE, _RENEW, _NO_FORK = OnFork.SHARE, OnFork.RENEW, OnFork.REFUSE
_OWN, _NO_FREEZE = OnFreeze.OWN, OnFreeze.REFUSE
_CONNECT_LATER = "open connections in @enter(snap=False) instead"
_GPU_LATER = "use the GPU in @enter(snap=False) only"
_MAP_LATER = "map it in @enter(snap=False) instead, or privately (mode 'c')"

# Descriptors.
FILE = Kind("file", _RENEW, _OWN)
#: Its mode changed since, or the user: a copy could not open it again.
BARRED_FILE = Kind("file that cannot be opened again", _NO_FORK, _OWN)
UNLINKED = Kind("unlinked file", _RENEW, _OWN)  # becomes memory first (shared_memory.py)
LARGE_UNLINKED = Kind("large unlinked file", _NO_FORK, _NO_FREEZE)
#: It describes the process that opened it, whoever reads.
PROC_FILE = Kind("file of /proc", _NO_FORK, _OWN)
DIRECTORY = Kind("directory", _RENEW, _OWN)
GONE_DIRECTORY = Kind("removed directory", _RENEW, _NO_FREEZE)
PATH = Kind("path", _SHARE, _OWN)  # O_PATH: no offset, no content
MEMORY_FILE = Kind("memory file", _RENEW, _OWN)
STATELESS_DEVICE = Kind("stateless device", _SHARE, _OWN)
DEVICE = Kind("device", _NO_FORK, _NO_FREEZE)
GPU = Kind("GPU", _NO_FORK, _NO_FREEZE, _GPU_LATER)
TERMINAL = Kind("terminal", _NO_FORK, _NO_FREEZE)
INNER_PIPE = Kind("pipe within the process", _RENEW, _OWN)
#: CRIU knows no pipes of packets (O_DIRECT).
PACKET_PIPE = Kind("pipe of packets", _NO_FORK, _NO_FREEZE)
OUTPUT = Kind("the process's own output", _RENEW, _OWN)  # a duplicate of 1 or 2
OUTER_PIPE = Kind("pipe to another process", _NO_FORK, _NO_FREEZE)
NAMED_PIPE = Kind("named pipe", _NO_FORK, _NO_FREEZE)
INNER_SOCKETS = Kind("socket pair within the process", _RENEW, _OWN)
FILLED_SOCKETS = Kind("socket pair with data on its way", _NO_FORK, _OWN)
SOCKET = Kind("socket", _NO_FORK, _NO_FREEZE, _CONNECT_LATER)
EPOLL = Kind("epoll", _RENEW, _OWN)
ODD_EPOLL = Kind("epoll that watches a closed descriptor", _NO_FORK, _NO_FREEZE)
EVENTFD = Kind("eventfd", _RENEW, _OWN)
# A kernel before 6.5 does not say whether it counts as a semaphore.
UNTOLD_EVENTFD = Kind("eventfd", _NO_FORK, _OWN)
TIMERFD = Kind("timerfd", _RENEW, _OWN)
SIGNALFD = Kind("signalfd", _RENEW, _OWN)
INOTIFY = Kind("inotify", _NO_FORK, _OWN)
NAMESPACE = Kind("namespace", _SHARE, _NO_FREEZE)
QUEUE = Kind("POSIX message queue", _NO_FORK, _NO_FREEZE)
UNKNOWN = Kind("unknown", _NO_FORK, _NO_FREEZE)

# Mappings that are shared.
READ_MAP = Kind("file mapped for reading", _SHARE, _OWN)
FILE_MAP = Kind("file mapped for writing", _NO_FORK, _NO_FREEZE, _MAP_LATER)
#: Meant to be mapped by every process that has the database open, under locks of its own.
SQLITE_INDEX = Kind("index of a SQLite log", _SHARE, _OWN)
MEMORY_MAP = Kind("shared memory", _RENEW, _OWN)
LARGE_MEMORY_MAP = Kind("large or unreadable shared memory", _NO_FORK, _OWN)
UNLINKED_MAP = Kind("unlinked file mapped", _RENEW, _OWN)
LARGE_UNLINKED_MAP = Kind("large unlinked file mapped", _NO_FORK, _NO_FREEZE)
SYSV_MAP = Kind("System V shared memory", _NO_FORK, _NO_FREEZE)
DEVICE_MAP = Kind("memory of a device", _NO_FORK, _NO_FREEZE)

#: More shared memory and unlinked content than this is not copied into each forked copy, which
#: would take milliseconds each time.
COPIED_BYTES = 16 << 20
#: Content of unlinked files on disk that becomes memory of the template when it parks.
SETTLED_BYTES = 64 << 20
#: Shared memory of more than this stays as it is, for CRIU alone to save.
SETTLED_MEMORY_BYTES = 1 << 30
