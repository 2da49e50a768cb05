"""The link's limit, one large pinned copy, and how near the copy engine comes to it."""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

from on_gpu.report import Options, Report
from rekindle.exception import GpuError
from rekindle.gpu_restore import cuda
from rekindle.gpu_restore.copying import (
    CHUNK_BYTES,
    Arena,
    FileRange,
    Memory,
    Piece,
    threads_here,
    transfer,
)
from rekindle.gpu_restore.device import Device, cuda_device
from rekindle.gpu_restore.host_device import HostDevice
from rekindle.linux import memory

MIB = 1 << 20


def run(report: Report, options: Options) -> None:
    """Bytes a second; ratios against the link."""
    device, size, link, target, area, address = _begin(report, options)
    warm = _engine(report, device, target, size, Memory(address), "from memory, warm", link)
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        file.write(area)
        file.flush()
        source = FileRange(file.fileno(), 0)
        _engine(report, device, target, size, source, "from the page cache", link)
        with mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE) as mapped:
            at = ctypes.addressof(ctypes.c_ubyte.from_buffer(mapped))
            # As a runner's memory is after a restore: mapped from the page file, no page touched.
            _engine(
                report, device, target, size, Memory(at), "from a mapped file, untouched", link, 1
            )
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        _engine(report, device, target, size, source, "from a file, page cache dropped", link, 1)
    if warm and link:
        report.row("to_device / link, warm", warm / link, "ratio", wanted=0.85)
    if not options.stand_in:
        _pageable(report, target, address, size, link)
        _staging(report)
    device.free(target)


def sweep(report: Report, options: Options) -> None:
    """Which threads and chunk sizes the engine does best with, on this machine."""
    device, size, link, target, _area, address = _begin(report, options)
    arena = Arena(target, size, [Piece(0, size, Memory(address))])
    for chunk in (1, 2, 4, 8, 16, 32):
        for threads in (1, 2, 4, 8, 12, 16):
            if threads > len(os.sched_getaffinity(0)):
                continue
            rates = [
                transfer(device, [arena], threads=threads, chunk_bytes=chunk * MIB).rate
                for _ in range(4)
            ][1:]
            best = sorted(rates)[1]
            report.row(
                "to_device",
                best / 1e9,
                "GB/s",
                chunk_mib=chunk,
                threads=threads,
                of_link=round(best / link, 3) if link else None,
            )
            device.drop_staging()
    device.free(target)


def _begin(report: Report, options: Options) -> tuple[Device, int, float, int, Any, int]:
    """The device, bytes to copy, the link's rate, a place there; memory that is filled, and where
    it is. Raises GpuError."""
    device: Device = HostDevice() if options.stand_in else cuda_device(0)
    size = (64 if options.quick or options.stand_in else 1024) * MIB
    link = pinned(report, device, size)
    area = _filled(size)
    address = ctypes.addressof(ctypes.c_ubyte.from_buffer(area))
    return device, size, link, device.allocate(size), area, address


def pinned(report: Report, device: Device, size: int) -> float:
    """Bytes a second of one large copy from pinned memory; 0.0 where it cannot be had."""
    target = device.allocate(size)
    try:
        stage = device.staging(size)
    except GpuError as error:
        report.missing("link", error)
        return 0.0
    memory_of = (ctypes.c_ubyte * size).from_address(stage)
    ctypes.memset(memory_of, 1, size)
    queue = device.queue()

    def copy() -> None:
        queue.copy_in(target, stage, size)
        queue.wait(queue.mark())

    rates = [size / seconds for seconds in _times(copy, 6)[1:]]
    queue.close()
    device.keep_staging(stage, size)
    device.drop_staging()
    device.free(target)
    return (
        report.median("link: one pinned copy", [r / 1e9 for r in rates], "GB/s", bytes=size) * 1e9
    )


def _engine(
    report: Report,
    device: Device,
    target: int,
    size: int,
    source: Memory | FileRange,
    what: str,
    link: float,
    times: int = 6,
) -> float:
    arena = Arena(target, size, [Piece(0, size, source)])
    first = transfer(device, [arena])
    done = [first, *(transfer(device, [arena]) for _ in range(times - 1))]
    rates = [one.rate for one in done[1:] or done]
    middle = sorted(rates)[len(rates) // 2]
    report.row(
        f"to_device {what}",
        middle / 1e9,
        "GB/s",
        bytes=size,
        threads=threads_here(),
        chunk_bytes=CHUNK_BYTES,
        of_link=round(middle / link, 3) if link else None,
        first_gb_s=round(first.rate / 1e9, 3),
        first_staging_ms=round(first.staging_s * 1e3, 2),
    )
    _check(device, target, size, source, what, report)
    return middle


def _check(
    device: Device, target: int, size: int, source: Memory | FileRange, what: str, report: Report
) -> None:
    """Three places of what arrived."""
    for at in (0, size // 2 - 5000, size - MIB):
        there = bytearray(MIB)
        device.read(target + at, there)
        if isinstance(source, Memory):
            here = ctypes.string_at(source.address + at, MIB)
        else:
            here = os.pread(source.fd, MIB, source.offset + at)
        if here != bytes(there):
            report.says("wrong", f"to_device {what}: other bytes arrived at {at}")


def _pageable(report: Report, target: int, address: int, size: int, link: float) -> None:
    driver = cuda.load()
    rates = [size / s for s in _times(lambda: driver.copy_in(target, address, size), 4)[1:]]
    middle = report.median("one copy from pageable memory", [r / 1e9 for r in rates], "GB/s")
    if link:
        report.row("pageable / link", middle * 1e9 / link, "ratio")

    def register() -> None:  # rekindle itself has no use for it
        at = ctypes.c_void_p(address)
        driver.call("cuMemHostRegister_v2", at, ctypes.c_size_t(size), ctypes.c_uint(0))
        driver.call("cuMemHostUnregister", at)

    report.median(
        "to pin memory that is there", [s * 1e3 for s in _times(register, 3)], "ms", bytes=size
    )


def _staging(report: Report) -> None:
    driver = cuda.load()
    for mib in (8, 64, 256):

        def allocate(size: int = mib * MIB) -> None:
            driver.free_host(driver.allocate_host(size))

        runs = [s * 1e3 for s in _times(allocate, 3)]
        report.median("to allocate pinned memory", runs, "ms", mib=mib)


def _filled(size: int) -> Any:
    area = mmap.mmap(-1, size)
    memory.populate_for_reading(ctypes.addressof(ctypes.c_ubyte.from_buffer(area)), size)
    block = os.urandom(MIB)
    for at in range(0, size, MIB):
        area[at : at + MIB] = block[:-8] + at.to_bytes(8, "little")
    return area


def _times(what: Callable[[], object], count: int) -> list[float]:
    found = []
    for _ in range(count):
        started = time.perf_counter()
        what()
        found.append(time.perf_counter() - started)
    return found
