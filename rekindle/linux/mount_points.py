"""Directories to mount on, also where this user may not make them.

Where they can be made they are, on the machine. Where not, this mount namespace gets a root that
has them: a tmpfs in which all that the old root has is bound. Only what nobody here could write to
is rebuilt so, so nothing is written to it that would be lost.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections.abc import Iterable, Iterator

from rekindle.linux import mounts
from rekindle.linux.libc import check, libc

_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_NEW = "/dev/shm/.rekindle-root"


def provide(paths: Iterable[str]) -> None:
    """Have a directory at each of these absolute paths. Raises OSError."""
    missing = []
    for path in paths:
        try:
            os.makedirs(path, exist_ok=True)
        except OSError:
            if os.path.lexists(path):
                raise  # a file is there
            missing.append(path)
    if missing:
        _new_root(missing)


@contextlib.contextmanager
def pivot(root: str) -> Iterator[None]:
    """Make a mount the root of this process. In the block the old one is there still: relative
    paths lead to it, and what was opened below it can be used; after it nothing of it is left.
    Raises OSError."""
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(root)
        number = _PIVOT_ROOT[os.uname().machine]
        check(libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
        os.fchdir(old)
    finally:
        os.close(old)
    try:
        yield
    finally:
        os.chdir("/")
        mounts.unmount(".")  # the old root, which lies over the new one
        os.chdir("/")


def _new_root(paths: list[str]) -> None:
    os.mkdir(_NEW, 0o700)
    mounts.mount("tmpfs", _NEW, "tmpfs", mounts.MS_NOSUID | mounts.MS_NODEV, "mode=755")
    mounts.mount("none", _NEW, flags=mounts.MS_UNBINDABLE)  # not seen below the bound /dev again
    _mirror("/", _NEW, [path.strip("/") for path in paths])
    with pivot(_NEW):
        pass
    os.rmdir(_NEW)


def _mirror(source: str, target: str, paths: list[str]) -> None:
    """Show in ``target`` what ``source`` has, and make the directories ``paths`` that it lacks."""
    wanted: dict[str, list[str]] = {}
    for path in paths:
        first, _, rest = path.partition("/")
        wanted.setdefault(first, []).extend([rest] if rest else [])
    for entry in os.scandir(source):
        there = os.path.join(target, entry.name)
        info = entry.stat(follow_symlinks=False)
        below = wanted.pop(entry.name, [])
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(entry.path), there)
        elif stat.S_ISDIR(info.st_mode):
            os.mkdir(there, 0o755)
            if below:
                _mirror(entry.path, there, below)
            else:
                mounts.mount(entry.path, there, flags=mounts.MS_BIND | mounts.MS_REC)
        else:
            os.close(os.open(there, os.O_CREAT | os.O_WRONLY, 0o644))
            mounts.mount(entry.path, there, flags=mounts.MS_BIND)
    for name, inner in wanted.items():
        for path in ["", *inner]:
            os.makedirs(os.path.join(target, name, path), exist_ok=True)
