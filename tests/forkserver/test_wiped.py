"""Areas that the kernel empties on fork: found, and made anew as they were."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable, Iterator

import pytest

from rekindle.forkserver import wiped
from rekindle.linux import memory
from rekindle.linux.maps import Mapping

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

SIZE = 2 * mmap.PAGESIZE
RW, RWX = 3, 7
PRIVATE, DROPPABLE, ANONYMOUS = 2, 8, 0x20
WIPE_ON_FORK, DONT_DUMP = 18, 16


def _map(kind: int, *advice: int, prot: int = RW) -> int:
    address = _libc.mmap(None, SIZE, prot, kind | ANONYMOUS, -1, 0)
    if address == ctypes.c_void_p(-1).value:
        if kind == DROPPABLE and ctypes.get_errno() in (errno.EINVAL, errno.EOPNOTSUPP):
            pytest.skip("this kernel has no droppable mappings (Linux 6.11 and newer have)")
        raise OSError(ctypes.get_errno(), "mmap")
    for one in advice:
        assert _libc.madvise(address, SIZE, one) == 0
    ctypes.memmove(address, b"state", 5)
    return int(address)


@pytest.fixture(params=["wiped on fork", "wiped on fork, not dumped", "droppable"])
def address(request: pytest.FixtureRequest) -> Iterator[int]:
    found = {
        "wiped on fork": lambda: _map(PRIVATE, WIPE_ON_FORK),
        "wiped on fork, not dumped": lambda: _map(PRIVATE, WIPE_ON_FORK, DONT_DUMP),
        "droppable": lambda: _map(DROPPABLE),
    }[request.param]()
    yield found
    _libc.munmap(found, SIZE)


def _area(address: int) -> Mapping | None:
    return next((one for one in wiped.find() if one.start <= address < one.end), None)


def _content(address: int) -> bytes:
    return ctypes.string_at(address, 5)


def _in_child(look: Callable[[], bytes]) -> bytes:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, look())
        os._exit(0)
    os.close(write)
    seen = os.read(read, 100)
    os.close(read)
    os.waitpid(pid, 0)
    return seen


def _like(area: Mapping, address: int) -> Mapping:
    """Only this test's part: the kernel joins neighbours with equal flags."""
    return area._replace(start=address, end=address + SIZE)


def test_an_area_is_found_and_an_ordinary_one_is_not(address: int) -> None:
    ordinary = _map(PRIVATE)
    try:
        area = _area(address)
        assert area is not None
        assert area.permissions == "rw-p"
        assert area.vm_flags & {"wf", "dp"}
        assert _area(ordinary) is None
    finally:
        _libc.munmap(ordinary, SIZE)


def test_a_renewed_area_is_empty_and_has_the_flags_that_it_had(address: int) -> None:
    area = _area(address)
    assert area is not None
    wiped.renew([_like(area, address)])
    assert _content(address) == bytes(5)
    renewed = _area(address)
    assert renewed is not None
    # The kernel's own note of pages written since ("sd") is no property of the area.
    assert renewed.vm_flags - {"sd"} == area.vm_flags - {"sd"}
    assert renewed.permissions == area.permissions


def test_an_area_that_came_back_as_ordinary_memory_is_wiped_on_fork_again(address: int) -> None:
    area = _area(address)
    assert area is not None
    memory.empty_area(address, SIZE, RW, {"rd", "wr"})  # as CRIU restores it
    ctypes.memmove(address, b"stale", 5)
    assert _area(address) is None
    assert _in_child(lambda: _content(address)) == b"stale"
    wiped.renew([_like(area, address)])
    assert _content(address) == bytes(5)
    ctypes.memmove(address, b"fresh", 5)
    assert _in_child(lambda: _content(address)) == bytes(5)
    assert _content(address) == b"fresh"


def test_permissions_are_kept() -> None:
    address = _map(PRIVATE, WIPE_ON_FORK, prot=RWX)
    try:
        area = _area(address)
        assert area is not None
        wiped.renew([_like(area, address)])
        renewed = _area(address)
        assert renewed is not None
        assert renewed.permissions == "rwxp"
    finally:
        _libc.munmap(address, SIZE)
