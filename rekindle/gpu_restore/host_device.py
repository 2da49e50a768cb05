"""This machine's own memory as a device: what stands in for a GPU, and the target ``"cpu"``.

Memory that can be shared is a memory file, handed on by its descriptor as a GPU's is. Its queues
copy at once, in order. Standard library only.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from dataclasses import dataclass

from rekindle.exception import GpuError
from rekindle.gpu_restore.device import PinnedMemory, Queue, Shared
from rekindle.linux.libc import check, libc

_PROT_READ_WRITE = 3
_MAP_SHARED, _MAP_PRIVATE, _MAP_ANONYMOUS = 1, 2, 0x20


@dataclass
class _Area:
    size: int
    fd: int = -1  # of a memory file that this process made
    opened: bool = False  # another process's, who counts it


class HostDevice:
    """Implements Device. ``total_bytes``: how much it lets be allocated; 0 is without limit."""

    def __init__(self, total_bytes: int = 0) -> None:
        self._total = total_bytes
        self._areas: dict[int, _Area] = {}
        self._used = 0
        self._pinned = PinnedMemory()

    def bind(self) -> None:
        """See Device; every thread is."""

    def queue(self) -> Queue:
        """See Device."""
        return _HostQueue()

    def staging(self, size: int) -> int:
        """See Device."""
        kept = self._pinned.take(size)
        return _map(size) if kept is None else kept

    def keep_staging(self, address: int, size: int) -> None:
        """See Device."""
        self._pinned.keep(address, size)

    def drop_staging(self) -> None:
        """See Device."""
        for address, size in self._pinned.take_all():
            _unmap(address, size)

    def allocate(self, size: int) -> int:
        """See Device."""
        self._count(size)
        address = _map(size)
        self._areas[address] = _Area(size)
        return address

    def free(self, address: int) -> None:
        """See Device."""
        self.release(address)

    def allocate_shared(self, size: int) -> int:
        """See Device."""
        self._count(size)
        fd = os.memfd_create("rekindle-device", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            address = _map(size, fd)
        except BaseException:
            os.close(fd)
            raise
        self._areas[address] = _Area(size, fd)
        return address

    def share(self, address: int) -> Shared:
        """See Device."""
        area = self._area(address)
        if area.fd < 0:
            raise GpuError(f"no shared memory begins at {address:#x}")
        return Shared(area.size, fd=os.dup(area.fd))

    def open(self, shared: Shared) -> int:
        """See Device."""
        if os.fstat(shared.fd).st_size != shared.size:
            raise GpuError(f"shared memory is not of {shared.size} bytes")
        address = _map(shared.size, shared.fd)
        self._areas[address] = _Area(shared.size, opened=True)
        return address

    def release(self, address: int) -> None:
        """See Device."""
        area = self._area(address)
        del self._areas[address]
        _unmap(address, area.size)
        self._used -= 0 if area.opened else area.size
        if area.fd >= 0:
            os.close(area.fd)

    def read(self, address: int, buffer: bytearray) -> None:
        """See Device."""
        view = (ctypes.c_ubyte * len(buffer)).from_buffer(buffer)
        ctypes.memmove(view, address, len(buffer))

    def memory(self) -> tuple[int, int]:
        """See Device."""
        return max(0, self._total - self._used), self._total

    def _count(self, size: int) -> None:
        if self._total and self._used + size > self._total:
            raise GpuError(f"out of memory: {size} bytes, {self._total - self._used} are free")
        self._used += size

    def _area(self, address: int) -> _Area:
        area = self._areas.get(address)
        if area is None:
            raise GpuError(f"no memory begins at {address:#x}")
        return area


class _HostQueue:
    """Copies at once."""

    def copy_in(self, target: int, source: int, size: int) -> None:
        ctypes.memmove(target, source, size)

    def mark(self) -> int:
        return 0

    def wait(self, mark: int) -> None:
        """Everything is done."""

    def close(self) -> None:
        """Everything is done."""


def _map(size: int, fd: int = -1) -> int:
    how = _MAP_PRIVATE | _MAP_ANONYMOUS if fd < 0 else _MAP_SHARED
    address = libc.mmap(None, size, _PROT_READ_WRITE, how, fd, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        check(-1, f"mmap of {size} bytes")
    return int(address)


def _unmap(address: int, size: int) -> None:
    size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    check(libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size)), f"munmap at {address:#x}")
