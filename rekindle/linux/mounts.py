"""Mounts of this process's mount namespace."""

from __future__ import annotations

import ctypes
import errno
import os

from rekindle.linux.beneath import open_beneath
from rekindle.linux.libc import check, libc

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
_MS_REMOUNT = 32
MS_UNBINDABLE = 1 << 17
_MS_PRIVATE = 1 << 18
_MS_RELATIME = 1 << 21
#: statvfs(3)'s flags that mount(2) has under the same number: rdonly to noexec, and two of atime.
_SAME_FLAGS = 0xF | 1 << 10 | 1 << 11
_ST_RELATIME = 1 << 12
_MNT_DETACH = 2


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    check(
        libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            fstype.encode() or None,
            ctypes.c_ulong(flags),
            data.encode() or None,
        ),
        f"mount {target}",
    )


def unmount(target: str) -> None:
    """Detach the mount at ``target`` even while something in it is open."""
    check(libc.umount2(os.fsencode(target), _MNT_DETACH), f"umount {target}")


def points() -> list[str]:
    """Where something is mounted, in the order in which it was mounted; one on another twice."""
    import re
    from pathlib import Path

    escaped = re.compile(rb"\\([0-7]{3})")  # a space, a tab, the end of a line, a backslash
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    return [
        os.fsdecode(escaped.sub(lambda found: bytes([int(found[1], 8)]), line.split(b" ")[4]))
        for line in lines
    ]


def make_private() -> None:
    """Keep this namespace's mounts from propagating to the machine, and the reverse."""
    mount("none", "/", flags=MS_REC | _MS_PRIVATE)


# As every forked runner mounts these two, the function is looked up and their arguments are made
# once.
_mount = libc.mount
_PROC_FLAGS = ctypes.c_ulong(MS_NOSUID | MS_NODEV | MS_NOEXEC)
_SHM_FLAGS = ctypes.c_ulong(MS_NOSUID | MS_NODEV)


def mount_proc() -> None:
    """Show this PID namespace's own processes under /proc."""
    if _mount(b"proc", b"/proc", b"proc", _PROC_FLAGS, None) < 0:
        check(-1, "mount /proc")


def mount_shm() -> None:
    """Give this mount namespace a /dev/shm of its own: what is in it is a process's memory."""
    if _mount(b"tmpfs", b"/dev/shm", b"tmpfs", _SHM_FLAGS, b"mode=1777") < 0:
        if ctypes.get_errno() in (errno.ENOENT, errno.ENOTDIR):
            return  # this machine has none
        check(-1, "mount /dev/shm")


def forbid_device(path: str) -> None:
    """Have nobody in this mount namespace open a device file: EACCES, for root too.

    The file is mounted over itself without devices. What its file system forbids already stays
    forbidden, as a mount namespace of a user who is not root must not allow it.
    """
    mount(path, path, flags=MS_BIND)
    _remount(path, MS_NODEV)


def _remount(path: str, more: int) -> None:
    """Forbid something more at a mount: what is forbidden there stays so."""
    had = os.statvfs(path).f_flag
    flags = had & _SAME_FLAGS | (_MS_RELATIME if had & _ST_RELATIME else 0)
    mount("none", path, flags=MS_BIND | _MS_REMOUNT | flags | more)


def make_read_only(path: str, *, bound: bool = False) -> None:
    """Forbid writing below a path; ``bound``: it is a bind mount already. Raises OSError."""
    if not bound:
        mount(path, path, flags=MS_BIND | MS_REC)
    _remount(path, MS_RDONLY)


def make_tmpfs_read_only(path: str) -> None:
    """Forbid writing to the file system that is mounted at a path, however one comes to a file of
    it. Raises OSError."""
    mount("none", path, flags=_MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def bind_beneath(root: str, below: str, target: str, *, read_only: bool) -> None:
    """Show the directory ``below`` of ``root`` at ``target``; nothing outside of ``root``, whatever
    links lead to. Raises OSError."""
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if below:
            inner = open_beneath(fd, below, os.O_PATH | os.O_DIRECTORY)
            os.close(fd)
            fd = inner
        mount(f"/proc/self/fd/{fd}", target, flags=MS_BIND)
    finally:
        os.close(fd)
    if read_only:
        make_read_only(target, bound=True)
