"""Which apps are served: one ``rekindle serve`` of this machine for each name of an instance.

A second one would end the app of the first when it ends, and each save would have both deploy it;
what is deployed under that name by others would end with it, too.
A lock says so (flock on a file whose text is the process), which goes with the last process of the
command, however that ends. Nothing here knows of apps or of what is deployed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from pathlib import Path

from rekindle import paths
from rekindle.linux import files

#: How long to wait for who looks: one read of a small file.
_LOOK_S = 0.001


class TakenError(Exception):
    """Another command serves that name; its text is the process."""


@paths.at_home()
def take(instance: Path, name: str, process: int) -> int:
    """The open file that is held as long as ``process`` serves a name. Raises TakenError,
    SetupError."""
    path = _file(instance, name)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _locked(fd):
            holder = os.pread(fd, 32, 0).decode(errors="replace")
            os.close(fd)
            raise TakenError(holder)
        if _is_there(path, fd):
            os.ftruncate(fd, 0)
            os.pwrite(fd, str(process).encode(), 0)
            return fd
        os.close(fd)  # whoever had it has just removed the file


def _locked(fd: int) -> bool:
    """Lock it, unless another command has it: who only looks (``holder``) lets go of it at once."""
    while not files.try_lock(fd):
        if not files.try_lock(fd, shared=True):
            return False
        fcntl.flock(fd, fcntl.LOCK_UN)  # it would keep another one from taking it
        time.sleep(_LOOK_S)
    return True


@paths.at_home()
def holder(instance: Path, name: str) -> str | None:
    """The process that serves a name; None where none does. Raises SetupError."""
    try:
        fd = os.open(_file(instance, name), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if files.try_lock(fd, shared=True) else os.pread(fd, 32, 0).decode()
    finally:
        os.close(fd)


def give_back(instance: Path, name: str, fd: int) -> None:
    """No one of the command serves the name any more."""
    path = _file(instance, name)
    if _is_there(path, fd):
        path.unlink()
    os.close(fd)


def _file(instance: Path, name: str) -> Path:
    of = hashlib.sha256(f"{instance}\0{name}".encode()).hexdigest()[:32]
    return paths.home() / "serving" / of


def _is_there(path: Path, fd: int) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)
