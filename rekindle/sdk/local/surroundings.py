"""What no instance can be without, and a chroot, a container or a batch system may not have given.

Looked at before anything is started: each process of an instance would fail by itself, in other
words. Knows nothing of what CRIU needs; `rekindle doctor` does.
"""

from __future__ import annotations

import errno
import os
import sys

from rekindle.exception import SetupError

_NEEDED = (
    ("/proc/self/stat", "/proc is not mounted here: mount it (mount -t proc proc /proc)"),
    (os.devnull, "there is no /dev/null here: give this root a /dev (mount --rbind /dev ROOT/dev)"),
)


#: What each of its logs may have (kept_logs.py), and an array as an argument has soon.
_FILE_BYTES = 64 << 20


def check() -> None:
    """See that the system's own directories are there, and that Python can be started again.

    Raises SetupError.
    """
    if not sys.executable:
        raise SetupError(
            "no instance can be started: this Python does not know where it lies (sys.executable "
            "is empty): start it by its path in full"
        )
    for file, why_not in _NEEDED:
        if not os.path.exists(file):
            raise SetupError(f"no instance can be started: {why_not}")


def check_file_size() -> None:
    """See that what is started from here may write files of some size. Raises SetupError."""
    import resource  # most programs find an instance, and do without

    allowed, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if allowed != resource.RLIM_INFINITY and allowed < _FILE_BYTES:
        raise SetupError(
            f"no instance can be started: files of this process may have {allowed:,} bytes at most "
            f"(ulimit -f), too few for its queue, logs and values: raise that limit to "
            f"{_FILE_BYTES:,} at least, or have none (ulimit -f unlimited)"
        )


def why_in(log: str) -> str:
    """What to say of a process that ended with this at the end of its log, where it could start no
    process or thread; empty where it says nothing of that."""
    for said in (os.strerror(errno.EAGAIN), "can't start new thread", "pthread_create"):
        if said in log:
            return (
                f"no more processes or threads can be started ({said}): raise the limit on them "
                f"(ulimit -u, or pids.max of its cgroup), or on memory (ulimit -v)"
            )
    return ""


def why(error: OSError) -> str:
    """What to say of a process of an instance that could not be started."""
    if error.errno == errno.EAGAIN:
        limit = "raise the limit on processes (ulimit -u, or pids.max of its cgroup)"
        return f"no more processes can be started ({error.strerror}): {limit}"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"no more files can be opened ({error.strerror}): raise that limit (ulimit -n)"
    return str(error)
