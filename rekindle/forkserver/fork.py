"""The two forks of a template: into namespaces of its own (a runner), and in place (a copy)."""

from __future__ import annotations

import os

from rekindle.runtime.isolation import linux


def fork_isolated() -> int:
    """Fork; the child is PID 1 of a new PID namespace. Returns 0 in the child.

    One fork, not two: page tables are copied once. The parent's own later children stay in its
    own namespace (CRIU refuses a process whose children's namespace is another).
    """
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.unshare(linux.CLONE_NEWPID)
        try:
            pid = os.fork()
        except BaseException:
            linux.setns(own, linux.CLONE_NEWPID)
            raise
        if pid != 0:
            linux.setns(own, linux.CLONE_NEWPID)
        return pid
    finally:
        os.close(own)


def isolate_child(hostname: str) -> None:
    """In the forked child: own mounts with a /proc that shows only it, host name and IPC."""
    linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
    linux.make_mounts_private()
    linux.mount_proc()
    linux.set_hostname(hostname)


def fork_copy() -> int:
    """Fork in place, as leader of a session of its own. Returns 0 in the copy.

    The copy is what is frozen: the template itself goes on forking runners while CRIU writes.
    """
    pid = os.fork()
    if pid == 0:
        os.setsid()  # CRIU wants the leader of a process's session inside what it dumps
    return pid
