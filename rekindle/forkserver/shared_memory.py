"""Shared memory and unlinked files of a template, brought into a form that every copy can have.

At the park each becomes a memory file (memfd) of the template, as CRIU makes a new memfd for each
restored copy, where files in a directory that all see would meet. A forked copy gets a memory file
of its own with the same content. What has a name in /dev/shm gets it back in each runner, in the
/dev/shm that is that runner's own.

While a process waits to be frozen the memory files are open but not mapped: CRIU reads an open one
by its descriptor, a mapped one through /proc/PID/map_files, which only the machine's root may open.

Only for a process of one thread: memory is moved from under its addresses.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from rekindle.forkserver import kinds
from rekindle.forkserver.kinds import Kind
from rekindle.forkserver.open_files import OpenFile, is_inheritable
from rekindle.linux import files, memory
from rekindle.linux.maps import Mapping

SHM = "/dev/shm"
_F_ADD_SEALS, _F_GET_SEALS = 1033, 1034
_SEAL_WRITES = 0x0008 | 0x0010
#: What an open of a memory file keeps of the flags that the file was opened with.
_FLAGS = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK
_CHUNK = 1 << 20


@dataclass
class MemoryObject:
    """Content that each copy has for itself: what is open of it, and where it is mapped."""

    path: str = ""  # its name in /dev/shm, where it has one
    mode: int = 0o600
    seals: int = 0
    size: int = 0
    is_large: bool = False  # not moved
    files: list[OpenFile] = field(default_factory=list)
    mappings: list[Mapping] = field(default_factory=list)
    #: A descriptor of ours on the content, at the same number in every copy.
    handle: int = -1


def find_objects(
    files: list[OpenFile], shared: list[tuple[Mapping, Kind]], *, in_sandbox: bool
) -> list[MemoryObject]:
    """What is open, mapped or named of shared memory and unlinked files."""
    found: dict[tuple[int, int], MemoryObject] = {}
    for file in files:
        if file.kind in (kinds.MEMORY_FILE, kinds.UNLINKED):
            found.setdefault(file.inode, MemoryObject()).files.append(file)
    for area, kind in shared:
        inode = (area.device, area.inode)
        if kind in (kinds.MEMORY_MAP, kinds.UNLINKED_MAP):
            found.setdefault(inode, MemoryObject()).mappings.append(area)
        elif inode in found:  # of what is open, too large or unreadable
            found[inode].is_large = True
    if in_sandbox:
        for path, status in _named():
            one = found.setdefault((status.st_dev, status.st_ino), MemoryObject())
            one.path, one.mode = path, stat.S_IMODE(status.st_mode)
    for one in found.values():
        one.size = _size_of(one)
        one.is_large |= one.size > kinds.SETTLED_MEMORY_BYTES
    return list(found.values())


def _named() -> Iterator[tuple[str, os.stat_result]]:
    for directory, _folders, names in os.walk(SHM, onerror=files.not_listed_unless_gone):
        for name in names:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                yield path, status


def _size_of(one: MemoryObject) -> int:
    if one.files:
        return os.fstat(one.files[0].fd).st_size
    if one.path:
        return os.stat(one.path).st_size
    return max(area.offset + area.size for area in one.mappings)


def settle(objects: list[MemoryObject], private: list[Mapping]) -> None:
    """In the template: make each a memory file. Raises OSError."""
    for one in objects:
        if one.is_large:
            continue
        if one.files:
            one.seals = _seals_of(one.files[0].fd)
        _replace(one, _memory_file())
    for area in private:
        memory.map_private_copy_at(area.start, area.size, area.prot)


def renew(objects: list[MemoryObject], *, for_runner: bool) -> None:
    """In a forked copy: content of its own for each. Raises OSError.

    ``for_runner``: what had a name in /dev/shm gets it in this copy's own.
    """
    for one in objects:
        _replace(one, _named_file(one) if for_runner and one.path else _memory_file())


def unmap(objects: list[MemoryObject]) -> None:
    """In a process that is to be frozen: keep addresses and content, but no shared mapping.

    Nothing but rekindle's own code may run until ``map_again``. Raises OSError.
    """
    for one in objects:
        if one.handle >= 0:
            for area in one.mappings:
                memory.reserve_at(area.start, area.size)


def map_again(objects: list[MemoryObject]) -> None:
    """In a restored copy: what ``unmap`` took away. Raises OSError."""
    for one in objects:
        if one.handle < 0 or not one.mappings:
            continue
        if one.seals & _SEAL_WRITES and not one.path:
            # What is sealed can no longer be mapped for writing: sealed again after it is mapped.
            _replace(one, _memory_file())
            continue
        for area in one.mappings:
            memory.map_shared_at(area.start, area.size, area.prot, one.handle, area.offset)


def bring_names_back(objects: list[MemoryObject]) -> None:
    """In a restored copy, or in a template that itself becomes a runner. Raises OSError."""
    for one in objects:
        if one.path and not one.is_large:
            _replace(one, _named_file(one))


def forget(objects: list[MemoryObject]) -> None:
    """In a runner: close the handles."""
    for one in objects:
        if one.handle >= 0:
            os.close(one.handle)
            one.handle = -1


def _memory_file() -> int:
    return os.memfd_create("rekindle", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def _named_file(one: MemoryObject) -> int:
    os.makedirs(os.path.dirname(one.path), exist_ok=True)
    fresh = f"{one.path}.{os.getpid()}"
    fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, one.mode)
    # By rename: in a template that becomes a runner the file that was there is the source.
    os.rename(fresh, one.path)
    return fd


def _replace(one: MemoryObject, fresh: int) -> None:
    """Copy the content to ``fresh``, and put it in the place of all that is open or mapped."""
    os.ftruncate(fresh, one.size)
    if one.handle >= 0:
        _copy_file(one.handle, fresh)
    elif one.files or one.path:
        path = f"/proc/self/fd/{one.files[0].fd}" if one.files else one.path
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        _copy_file(source, fresh)
        os.close(source)
    else:
        for area in one.mappings:
            _copy_area(area, fresh)
    for file in one.files:
        opened = os.open(f"/proc/self/fd/{fresh}", file.flags & _FLAGS)
        os.lseek(opened, file.position, os.SEEK_SET)
        put_in_place(opened, file.fds)
    for area in one.mappings:
        memory.map_shared_at(area.start, area.size, area.prot, fresh, area.offset)
    if one.seals and not one.path:
        fcntl.fcntl(fresh, _F_ADD_SEALS, one.seals)
    if one.handle < 0:
        # Out of the way of numbers that user code counts on.
        one.handle = fcntl.fcntl(fresh, fcntl.F_DUPFD_CLOEXEC, 200)
    else:
        os.dup2(fresh, one.handle, inheritable=False)
    os.close(fresh)


def put_in_place(fd: int, targets: tuple[int, ...]) -> None:
    """Make ``targets`` stand for what ``fd`` stands for, and close ``fd``.

    Each keeps its number and whether it survives an exec.
    """
    for target in targets:
        os.dup2(fd, target, inheritable=is_inheritable(target))
    os.close(fd)


def _seals_of(fd: int) -> int:
    try:
        return fcntl.fcntl(fd, _F_GET_SEALS)
    except OSError:
        return 0  # not a memory file


def _copy_file(source: int, target: int) -> None:
    """Holes stay holes. Raises OSError."""
    size, at = os.fstat(source).st_size, 0
    while at < size and (part := files.next_data(source, at, size)) is not None:
        begin, end = part
        os.lseek(target, begin, os.SEEK_SET)
        at = begin
        while at < end:
            sent = os.sendfile(target, source, at, end - at)
            if not sent:
                return
            at += sent


def _copy_area(area: Mapping, target: int) -> None:
    for at in range(0, area.size, _CHUNK):
        piece = ctypes.string_at(area.start + at, min(_CHUNK, area.size - at))
        if piece.count(0) != len(piece):
            os.pwrite(target, piece, area.offset + at)
