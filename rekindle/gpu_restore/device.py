"""What weights are copied to and shared by: a device's memory, its queues, its pinned memory.

Two implementations: a GPU, by the driver (here), and this machine's own memory
(``host_device.py``), which stands in for one in tests and is the target ``"cpu"``. Knows nothing of
tensors.
"""

from __future__ import annotations

import ctypes
import os
import threading
from dataclasses import dataclass, field
from typing import Protocol

from rekindle.exception import CudaError, GpuError
from rekindle.gpu_restore import cuda
from rekindle.gpu_restore.cuda import Driver


@dataclass(frozen=True)
class Shared:
    """Memory of a device as another process is given it: a descriptor, or an opaque handle."""

    size: int  # bytes, as it is mapped
    fd: int = -1
    handle: bytes = b""


class Queue(Protocol):
    """Copies in order; those of two queues overlap."""

    def copy_in(self, target: int, source: int, size: int) -> None:
        """Begin to copy from pinned memory to the device."""

    def mark(self) -> int:
        """A mark behind all that was begun."""

    def wait(self, mark: int) -> None:
        """Until what is before the mark is done; the mark is gone then."""

    def close(self) -> None:
        """Wait for everything, and let the queue go."""


class Device(Protocol):
    """One device, for any thread that was bound to it. Errors are GpuError."""

    def bind(self) -> None:
        """Make it the calling thread's device."""

    def queue(self) -> Queue:
        """A new queue."""

    def staging(self, size: int) -> int:
        """Pinned memory of that size: its address. Kept for the next one who asks."""

    def keep_staging(self, address: int, size: int) -> None:
        """Give pinned memory back, for the next one."""

    def drop_staging(self) -> None:
        """Let all pinned memory go that is kept."""

    def allocate(self, size: int) -> int:
        """Memory of this process alone."""

    def free(self, address: int) -> None:
        """Give back what ``allocate`` gave."""

    def allocate_shared(self, size: int) -> int:
        """Memory that ``share`` can offer to other processes."""

    def share(self, address: int) -> Shared:
        """What ``allocate_shared`` gave, for another process; its descriptor is to be closed."""

    def open(self, shared: Shared) -> int:
        """Memory of another process in this one; its address here."""

    def release(self, address: int) -> None:
        """Let go of what ``allocate_shared`` or ``open`` gave."""

    def read(self, address: int, buffer: bytearray) -> None:
        """Copy from the device into ``buffer``."""

    def memory(self) -> tuple[int, int]:
        """(free, total) bytes."""


@dataclass
class PinnedMemory:
    """Pinned memory that is kept, by size: to get it takes as long as to copy what fits into it."""

    _kept: dict[int, list[int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, size: int) -> int | None:
        """One of that size, or None."""
        with self._lock:
            kept = self._kept.get(size)
            return kept.pop() if kept else None

    def keep(self, address: int, size: int) -> None:
        """For the next one."""
        with self._lock:
            self._kept.setdefault(size, []).append(address)

    def take_all(self) -> list[tuple[int, int]]:
        """(address, size) of each."""
        with self._lock:
            found = [(address, size) for size, kept in self._kept.items() for address in kept]
            self._kept.clear()
        return found


@dataclass
class _Region:
    """Shared memory as this process has it."""

    size: int
    handle: int = 0  # of cuMemCreate or cuMemImportFromShareableHandle; 0: by an IPC handle
    opened: bool = False  # another process's


class CudaDevice:
    """A GPU that this process sees, with its primary context."""

    def __init__(self, driver: Driver, ordinal: int = 0) -> None:
        """Makes the context where there is none yet. Raises CudaError."""
        driver.init()
        self._driver = driver
        self.ordinal = ordinal
        self._device = driver.device(ordinal)
        self.name, self.uuid = driver.name(self._device), driver.uuid(self._device)
        self._context = driver.retain_primary(self._device)
        self._pinned = PinnedMemory()
        self._regions: dict[int, _Region] = {}
        self._by_descriptor = bool(driver.attribute(self._device, cuda.SHARES_BY_DESCRIPTOR))
        self.bind()

    def bind(self) -> None:
        """See Device."""
        self._driver.set_current(self._context)

    def queue(self) -> Queue:
        """See Device."""
        return _CudaQueue(self._driver)

    def staging(self, size: int) -> int:
        """See Device."""
        kept = self._pinned.take(size)
        return self._driver.allocate_host(size) if kept is None else kept

    def keep_staging(self, address: int, size: int) -> None:
        """See Device."""
        self._pinned.keep(address, size)

    def drop_staging(self) -> None:
        """See Device."""
        for address, _size in self._pinned.take_all():
            self._driver.free_host(address)

    def allocate(self, size: int) -> int:
        """See Device."""
        return self._driver.allocate(size)

    def free(self, address: int) -> None:
        """See Device."""
        self._driver.free(address)

    def allocate_shared(self, size: int) -> int:
        """See Device: by descriptor where the device can, as that goes between namespaces."""
        if not self._by_descriptor:
            address = self._driver.allocate(size)
            self._regions[address] = _Region(size)
            return address
        granularity = self._driver.granularity(self._device)
        whole = -(-size // granularity) * granularity
        handle = self._driver.create(self._device, whole)
        try:
            address = self._driver.map(handle, self._device, whole)
        except CudaError:
            self._driver.release(handle)
            raise
        self._regions[address] = _Region(whole, handle)
        return address

    def share(self, address: int) -> Shared:
        """See Device."""
        region = self._region(address)
        if region.handle:
            return Shared(region.size, fd=self._driver.export_descriptor(region.handle))
        return Shared(region.size, handle=self._driver.ipc_handle(address))

    def open(self, shared: Shared) -> int:
        """See Device."""
        if shared.handle:
            address = self._driver.ipc_open(shared.handle)
            self._regions[address] = _Region(shared.size, opened=True)
            return address
        handle = self._driver.import_descriptor(shared.fd)
        try:
            address = self._driver.map(handle, self._device, shared.size)
        except CudaError:
            self._driver.release(handle)
            raise
        self._regions[address] = _Region(shared.size, handle, opened=True)
        return address

    def release(self, address: int) -> None:
        """See Device."""
        region = self._region(address)
        del self._regions[address]
        if region.handle:
            self._driver.unmap(address, region.size)
            self._driver.release(region.handle)
        elif region.opened:
            self._driver.ipc_close(address)
        else:
            self._driver.free(address)

    def _region(self, address: int) -> _Region:
        region = self._regions.get(address)
        if region is None:
            raise GpuError(f"no shared memory begins at {address:#x}")
        return region

    def read(self, address: int, buffer: bytearray) -> None:
        """See Device."""
        view = (ctypes.c_ubyte * len(buffer)).from_buffer(buffer)
        self._driver.copy_out(ctypes.addressof(view), address, len(buffer))

    def memory(self) -> tuple[int, int]:
        """See Device."""
        return self._driver.memory()


class _CudaQueue:
    """A stream."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._stream = driver.stream()
        self._events: list[int] = []
        self._idle: list[int] = []

    def copy_in(self, target: int, source: int, size: int) -> None:
        self._driver.copy_in_async(target, source, size, self._stream)

    def mark(self) -> int:
        if not self._idle:
            self._idle.append(self._driver.event())
            self._events.append(self._idle[-1])
        event = self._idle.pop()
        self._driver.record(event, self._stream)
        return event

    def wait(self, mark: int) -> None:
        self._driver.wait_for(mark)
        self._idle.append(mark)

    def close(self) -> None:
        try:
            self._driver.synchronize_stream(self._stream)
        finally:
            for event in self._events:
                self._driver.destroy_event(event)
            self._driver.destroy_stream(self._stream)


#: One for each GPU of this process and process id: a fork has none of its parent's.
_devices: dict[tuple[int, int], CudaDevice] = {}


def drop_staging() -> None:
    """Let all pinned memory of this process go that is kept for a next copy."""
    for (pid, _ordinal), device in _devices.items():
        if pid == os.getpid():
            device.bind()
            device.drop_staging()


def cuda_device(ordinal: int = 0) -> CudaDevice:
    """The GPU of that number, its context made at the first time. Raises GpuError."""
    key = (os.getpid(), ordinal)
    if key not in _devices:
        _devices[key] = CudaDevice(cuda.load(), ordinal)
    device = _devices[key]
    device.bind()
    return device
