"""Mounts of this process's mount namespace."""

from __future__ import annotations

import ctypes
import errno

from rekindle.linux.libc import check, libc

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    check(
        libc.mount(
            source.encode(),
            target.encode(),
            fstype.encode() or None,
            ctypes.c_ulong(flags),
            data.encode() or None,
        ),
        f"mount {target}",
    )


def unmount(target: str) -> None:
    """Detach the mount at ``target`` even while something in it is open."""
    check(libc.umount2(target.encode(), _MNT_DETACH), f"umount {target}")


def make_private() -> None:
    """Keep this namespace's mounts from propagating to the machine, and the reverse."""
    mount("none", "/", flags=MS_REC | _MS_PRIVATE)


# As every forked runner mounts these two, their arguments are made once.
_PROC_FLAGS = ctypes.c_ulong(MS_NOSUID | MS_NODEV | MS_NOEXEC)
_SHM_FLAGS = ctypes.c_ulong(MS_NOSUID | MS_NODEV)


def mount_proc() -> None:
    """Show this PID namespace's own processes under /proc."""
    check(libc.mount(b"proc", b"/proc", b"proc", _PROC_FLAGS, None), "mount /proc")


def mount_shm() -> None:
    """Give this mount namespace a /dev/shm of its own: what is in it is a process's memory."""
    if libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", _SHM_FLAGS, b"mode=1777") < 0:
        if ctypes.get_errno() in (errno.ENOENT, errno.ENOTDIR):
            return  # this machine has none
        check(-1, "mount /dev/shm")
