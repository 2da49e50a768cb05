"""Memory of this process: areas put at given addresses, and freed pages given back."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection
from typing import Any

from rekindle.linux.libc import check, libc, locked_libc

_MAP_SHARED = 0x01
_MAP_PRIVATE = 0x02
_MAP_DROPPABLE = 0x08  # a type of mapping of its own, from Linux 6.11 on
_MAP_FIXED = 0x10
_MAP_ANONYMOUS = 0x20
_MAP_NORESERVE = 0x4000

_MADV_POPULATE_READ, _MADV_POPULATE_WRITE = 22, 23
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _M_ARENA_MAX = -3, -1, -8
#: As far glibc lets the first of these grow by itself, and the second to twice that.
_LARGEST_IN_HEAP_BYTES = 32 << 20
#: Variables by which they are set, and others that keep them from growing.
_MALLOC_LIMITS = ("MALLOC_MMAP_", "MALLOC_TRIM_", "MALLOC_TOP_PAD_")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

#: Advice by the name that its flag has in /proc/PID/smaps (``VmFlags``).
_ADVICE = {"wf": 18, "dd": 16, "dc": 10, "hg": 14, "nh": 15, "mg": 12}


def resident_bytes() -> int:
    """What this process has in memory. Raises OSError."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE_BYTES


def use_one_heap() -> None:
    """Have threads that are started from now on take memory from where the first one does: of the
    heaps that they have otherwise, what is free at the end cannot be given back."""
    setting = getattr(libc, "mallopt", None)  # absent in musl
    if setting is not None:
        setting(_M_ARENA_MAX, 1)


def keep_blocks_in_the_heap() -> None:
    """Have malloc take blocks of up to 32 MiB from its heap in place of mapping each by itself, as
    it does on its own account once a block of that size was freed.

    It is for good: once a limit is set, glibc adapts none any more. What whoever started this
    process has set stays.
    """
    setting = getattr(libc, "mallopt", None)  # absent in musl
    if setting is None or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return
    if not any(name.startswith(_MALLOC_LIMITS) for name in os.environ):
        setting(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP_BYTES)
        # Left as it was, it would have the end of the heap given back, and cleared by the kernel
        # again, for each large block that a program has for a moment.
        setting(_M_TRIM_THRESHOLD, 2 * _LARGEST_IN_HEAP_BYTES)


def return_freed_memory() -> None:
    """Give the allocator's free pages back: so they are not frozen into a snapshot, or others have
    them."""
    trim = getattr(libc, "malloc_trim", None)  # absent in musl
    if trim is not None:
        trim(0)


def populate_for_reading(address: int, size: int) -> bool:
    """Have the pages of an area mapped in one step, from the page cache or from disk.

    Copying from them faults each page in by itself otherwise. False where it cannot be done (before
    Linux 5.14, or for what cannot be read); nothing is lost then.
    """
    start = address & -_PAGE_BYTES
    place, length = ctypes.c_void_p(start), ctypes.c_size_t(address + size - start)
    return bool(libc.madvise(place, length, _MADV_POPULATE_READ) == 0)


def populate_for_writing(start: int, size: int) -> bool:
    """Have the pages of an area of one's own be there, in one step. False where it cannot be done
    (before Linux 5.14); nothing is lost then."""
    place, length = ctypes.c_void_p(start), ctypes.c_size_t(size)
    return bool(libc.madvise(place, length, _MADV_POPULATE_WRITE) == 0)


def allow(start: int, size: int, prot: int) -> bool:
    """Give an area these permissions; False where the system forbids it."""
    place, length = ctypes.c_void_p(start), ctypes.c_size_t(size)
    return bool(libc.mprotect(place, length, prot) == 0)


def empty_area(start: int, length: int, prot: int, vm_flags: Collection[str]) -> None:
    """Put an empty anonymous area at ``start``, with these permissions and flags.

    Whatever was mapped there is gone: MAP_FIXED replaces it in one step, so that no other thread
    meets a hole. ``vm_flags`` are as in /proc/PID/smaps. Raises OSError.
    """
    droppable = "dp" in vm_flags
    # A droppable mapping is wiped on fork and left out of core dumps by itself.
    flags = _MAP_ANONYMOUS | (_MAP_DROPPABLE if droppable else _MAP_PRIVATE)
    if "nr" in vm_flags and not droppable:
        flags |= _MAP_NORESERVE
    _map_at(libc, start, length, prot, flags)
    for name, advice in _ADVICE.items():
        if name in vm_flags and not (droppable and name in ("wf", "dd")):
            place, size = ctypes.c_void_p(start), ctypes.c_size_t(length)
            check(libc.madvise(place, size, advice), f"madvise({advice}) at {start:#x}")
    if "lo" in vm_flags:
        place, size = ctypes.c_void_p(start), ctypes.c_size_t(length)
        check(libc.mlock(place, size), f"mlock at {start:#x}")


# Other Python threads must not run while memory is moved from under them.


def map_shared_at(address: int, size: int, prot: int, fd: int, offset: int) -> None:
    """Put a shared mapping of ``fd`` in the place of what lies at ``address``."""
    _map_at(locked_libc, address, size, prot, _MAP_SHARED, fd, offset)


def reserve_at(address: int, size: int) -> None:
    """Unmap what lies at ``address``, and keep the place: nothing else is mapped there."""
    _map_at(locked_libc, address, size, 0, _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE)


def map_private_copy_at(address: int, size: int, prot: int) -> None:
    """Put anonymous memory with the same content in the place of what lies at ``address``."""
    content = ctypes.string_at(address, size)
    _map_at(locked_libc, address, size, 3, _MAP_PRIVATE | _MAP_ANONYMOUS)
    ctypes.memmove(address, content, size)
    place = ctypes.c_void_p(address)
    check(locked_libc.mprotect(place, ctypes.c_size_t(size), prot), "mprotect")


def _map_at(
    by: Any, address: int, size: int, prot: int, flags: int, fd: int = -1, offset: int = 0
) -> None:
    if by.mmap(address, size, prot, flags | _MAP_FIXED, fd, offset) != address:
        check(-1, f"mmap of {size} bytes at {address:#x}")


def available() -> tuple[int, int]:
    """Of the machine: bytes that can be had without swapping, and bytes that it has in all.

    What the kernel estimates for just that. Raises OSError.
    """
    fd = os.open("/proc/meminfo", os.O_RDONLY | os.O_CLOEXEC)  # for starts, as they come
    try:
        said = os.read(fd, 512)
    finally:
        os.close(fd)
    return _kib(said, b"MemAvailable:") << 10, _kib(said, b"MemTotal:") << 10


def _kib(said: bytes, name: bytes) -> int:
    _, found, rest = said.partition(name)
    if not found:
        raise OSError(f"the kernel does not report {name.decode()}")
    return int(rest.split(None, 1)[0])
