"""A /dev of one's own: the devices that any program may use, and those of GPUs; no disks."""

from __future__ import annotations

import glob
import os
import stat

from rekindle.linux import mounts

_PLAIN = ("null", "zero", "full", "random", "urandom", "tty")
_OF_GPUS = ("/dev/nvidia*", "/dev/dri", "/dev/kfd", "/dev/fuse")
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
#: Directories that something of its own is mounted on (``mount_pts``, ``mounts.mount_shm``).
_PLACES = ("shm", "pts", "mqueue")


def make_devices(target: str, *, may_make: bool) -> None:
    """Mount a small file system with them at ``target``. ``may_make``: this user may make device
    files there; else those of the machine are shown. Raises OSError."""
    flags = mounts.MS_NOSUID | mounts.MS_NOEXEC
    mounts.mount("tmpfs", target, "tmpfs", flags, "mode=755,size=1m")
    for name in _PLACES:
        os.mkdir(f"{target}/{name}")
    make_links(target)
    wanted = [f"/dev/{name}" for name in _PLAIN]
    wanted += [path for pattern in _OF_GPUS for path in sorted(glob.glob(pattern))]
    for path in wanted:
        _show(path, target + path.removeprefix("/dev"), may_make=may_make)


def make_links(target: str) -> None:
    """The names that programs expect beside devices. Raises OSError."""
    for name, to in _LINKS.items():
        os.symlink(to, f"{target}/{name}")


def _show(path: str, there: str, *, may_make: bool) -> None:
    info = os.lstat(path)
    if stat.S_ISDIR(info.st_mode):
        os.mkdir(there, 0o755)
        for name in os.listdir(path):
            _show(f"{path}/{name}", f"{there}/{name}", may_make=may_make)
    elif stat.S_ISCHR(info.st_mode) and may_make:
        os.mknod(there, stat.S_IFCHR, info.st_rdev)
        os.chmod(there, stat.S_IMODE(info.st_mode))
        os.chown(there, info.st_uid, info.st_gid)
    elif stat.S_ISCHR(info.st_mode):
        os.close(os.open(there, os.O_CREAT | os.O_WRONLY, 0o644))
        mounts.mount(path, there, flags=mounts.MS_BIND)


def mount_pts(target: str) -> None:
    """Terminals of one's own. Raises OSError."""
    flags = mounts.MS_NOSUID | mounts.MS_NOEXEC
    mounts.mount("devpts", target, "devpts", flags, "newinstance,ptmxmode=0666,mode=0620")
