"""A stand-in for libcuda: functions of the same names, device memory in this process's own.

Copies into streams are done when somebody waits for them and not before, so that pinned memory
which is filled again too early is seen on the "device".
"""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
import uuid
from typing import Any

from rekindle.gpu_restore.cuda_abi import PROTOTYPES

OUT_OF_MEMORY, NOT_SUPPORTED, ILLEGAL_STATE = 2, 801, 401
GRANULARITY = 2 << 20


def _set(argument: Any, value: Any) -> None:
    argument._obj.value = value


class FakeCuda:
    """``uuids``: of its GPUs. ``fail``: what a function is to return in the place of success."""

    def __init__(self, gpus: int = 1, version: int = 13000, free_bytes: int = 1 << 30) -> None:
        self.uuids = [uuid.UUID(int=n + 1) for n in range(gpus)]
        self.version_number = version
        self.free_bytes = free_bytes
        self.fail: dict[str, int] = {}
        self.calls: list[str] = []
        self.contexts: dict[int, int] = {}
        self.initialised = False
        self.by_descriptor = True
        self.memory: dict[int, Any] = {}
        self.pinned: dict[int, Any] = {}
        self.streams: dict[int, list[Any]] = {}
        self.events: dict[int, tuple[int, int]] = {}
        self.created: dict[int, int] = {}  # handle -> memory file
        self.process: dict[int, int] = {}
        self._numbers = itertools.count(0x1000)
        self._lock = threading.RLock()
        self.current: dict[int, int] = {}  # thread -> context

    def __getattr__(self, name: str) -> Any:
        if name not in PROTOTYPES:
            raise AttributeError(name)
        if name.startswith("cuCheckpoint") and self.version_number < 12080:
            raise AttributeError(name)
        implementation = object.__getattribute__(self, "_" + name.removesuffix("_v2"))

        def call(*arguments: Any) -> int:
            assert len(arguments) == len(PROTOTYPES[name]), name
            with self._lock:
                self.calls.append(name)
                if name in self.fail:
                    return self.fail[name]
                if not self.initialised and name not in (
                    "cuInit",
                    "cuDriverGetVersion",
                    "cuGetErrorName",
                    "cuGetErrorString",
                ):
                    return 3
                return implementation(*arguments) or 0

        return call

    # ---- devices and contexts

    def _cuInit(self, _flags: int) -> int:
        if not self.uuids:
            return 100
        self.initialised = True
        return 0

    def _cuDriverGetVersion(self, out: Any) -> None:
        _set(out, self.version_number)

    def _cuGetErrorName(self, code: int, out: Any) -> int:
        _set(
            out,
            {2: b"CUDA_ERROR_OUT_OF_MEMORY", 100: b"CUDA_ERROR_NO_DEVICE"}.get(
                code, b"CUDA_ERROR_OTHER"
            ),
        )
        return 0

    def _cuGetErrorString(self, _code: int, out: Any) -> int:
        _set(out, b"in words")
        return 0

    def _cuDeviceGetCount(self, out: Any) -> None:
        _set(out, len(self.uuids))

    def _cuDeviceGet(self, out: Any, ordinal: int) -> int:
        if not 0 <= ordinal < len(self.uuids):
            return 101
        _set(out, ordinal)
        return 0

    def _cuDeviceGetName(self, out: Any, _size: int, _device: int) -> None:
        out.value = b"NVIDIA Fake"

    def _cuDeviceGetUuid(self, out: Any, device: int) -> None:
        ctypes.memmove(ctypes.addressof(out._obj), self.uuids[device].bytes, 16)

    def _cuDeviceGetAttribute(self, out: Any, number: int, _device: int) -> None:
        _set(out, int(self.by_descriptor) if number == 103 else 0)

    def _cuDevicePrimaryCtxRetain(self, out: Any, device: int) -> None:
        self.contexts[device] = self.contexts.get(device, 0) + 1
        _set(out, 0xC0 + device)

    def _cuCtxSetCurrent(self, context: int) -> None:
        self.current[threading.get_ident()] = context

    def _cuMemGetInfo(self, free: Any, total: Any) -> None:
        _set(free, self.free_bytes)
        _set(total, 80 << 30)

    # ---- memory

    def _new(self, size: int) -> tuple[int, Any]:
        area = (ctypes.c_ubyte * max(1, size))()
        return ctypes.addressof(area), area

    def _cuMemAlloc(self, out: Any, size: int) -> int:
        assert self.current.get(threading.get_ident()), "no context is current in this thread"
        if size > self.free_bytes:
            return OUT_OF_MEMORY
        address, area = self._new(size)
        self.memory[address] = area
        self.free_bytes -= size
        _set(out, address)
        return 0

    def _cuMemFree(self, address: int) -> int:
        area = self.memory.pop(address, None)
        if area is None:
            return 1
        self.free_bytes += len(area)
        return 0

    def _cuMemHostAlloc(self, out: Any, size: int, _flags: int) -> None:
        address, area = self._new(size)
        self.pinned[address] = area
        _set(out, address)

    def _cuMemFreeHost(self, address: int) -> int:
        return 0 if self.pinned.pop(address, None) is not None else 1

    def _cuMemcpyHtoD(self, target: int, source: int, size: int) -> None:
        ctypes.memmove(target, source, size)

    def _cuMemcpyDtoH(self, target: int, source: int, size: int) -> None:
        ctypes.memmove(target, source, size)

    # ---- streams and events

    def _cuStreamCreate(self, out: Any, _flags: int) -> None:
        number = next(self._numbers)
        self.streams[number] = []
        _set(out, number)

    def _run(self, stream: int, until: int | None = None) -> None:
        queued = self.streams[stream]
        count = len(queued) if until is None else until
        for number, copy in enumerate(queued[:count]):
            if copy is not None:
                ctypes.memmove(*copy)
                queued[number] = None

    def _cuMemcpyHtoDAsync(self, target: int, source: int, size: int, stream: int) -> int:
        assert self.current.get(threading.get_ident()), "no context is current in this thread"
        pinned = any(
            start <= source and source + size <= start + len(area)
            for start, area in self.pinned.items()
        )
        assert pinned, "an asynchronous copy from memory that is not pinned"
        self.streams[stream].append((target, source, size))
        return 0

    def _cuStreamSynchronize(self, stream: int) -> None:
        self._run(stream)

    def _cuStreamDestroy(self, stream: int) -> int:
        return 0 if all(copy is None for copy in self.streams.pop(stream)) else 1

    def _cuEventCreate(self, out: Any, _flags: int) -> None:
        number = next(self._numbers)
        self.events[number] = (0, 0)
        _set(out, number)

    def _cuEventRecord(self, event: int, stream: int) -> None:
        self.events[event] = (stream, len(self.streams[stream]))

    def _cuEventSynchronize(self, event: int) -> None:
        stream, until = self.events[event]
        if stream:
            self._run(stream, until)

    def _cuEventDestroy(self, event: int) -> None:
        del self.events[event]

    # ---- memory for others

    def _cuIpcGetMemHandle(self, out: Any, address: int) -> None:
        ctypes.memmove(ctypes.addressof(out._obj), address.to_bytes(8, "little"), 8)

    def _cuIpcOpenMemHandle(self, out: Any, handle: Any, _flags: int) -> None:
        _set(out, int.from_bytes(bytes(handle.reserved[:8]), "little"))

    def _cuIpcCloseMemHandle(self, _address: int) -> None:
        pass

    def _cuMemGetAllocationGranularity(self, out: Any, properties: Any, _option: int) -> None:
        assert properties._obj.type == 1 and properties._obj.handle_types == 1
        _set(out, GRANULARITY)

    def _cuMemCreate(self, out: Any, size: int, _properties: Any, _flags: int) -> int:
        if size % GRANULARITY:
            return 1
        if size > self.free_bytes:
            return OUT_OF_MEMORY
        fd = os.memfd_create("fake-cuda")
        os.ftruncate(fd, size)
        number = next(self._numbers)
        self.created[number] = fd
        _set(out, number)
        return 0

    def _cuMemRelease(self, handle: int) -> None:
        os.close(self.created.pop(handle))

    def _cuMemAddressReserve(
        self, out: Any, size: int, _alignment: int, _at: int, _flags: int
    ) -> None:
        address, area = self._new(size)
        self.memory[address] = area
        _set(out, address)

    def _cuMemAddressFree(self, address: int, _size: int) -> None:
        del self.memory[address]

    def _cuMemMap(self, _address: int, _size: int, _offset: int, handle: int, _flags: int) -> int:
        return 0 if handle in self.created else 1

    def _cuMemUnmap(self, _address: int, _size: int) -> None:
        pass

    def _cuMemSetAccess(self, _address: int, _size: int, access: Any, _count: int) -> None:
        assert access._obj.flags in (1, 3)

    def _cuMemExportToShareableHandle(self, out: Any, handle: int, _type: int, _flags: int) -> None:
        _set(out, os.dup(self.created[handle]))

    def _cuMemImportFromShareableHandle(self, out: Any, fd: Any, _type: int) -> None:
        number = next(self._numbers)
        self.created[number] = os.dup(fd.value)
        _set(out, number)

    # ---- checkpoints

    def _cuCheckpointProcessGetState(self, pid: int, out: Any) -> None:
        _set(out, self.process.get(pid, 0))

    def _move(self, pid: int, before: int, after: int) -> int:
        if self.process.get(pid, 0) != before:
            return ILLEGAL_STATE
        self.process[pid] = after
        return 0

    def _cuCheckpointProcessLock(self, pid: int, arguments: Any) -> int:
        assert arguments._obj.timeout_ms > 0
        return self._move(pid, 0, 1)

    def _cuCheckpointProcessCheckpoint(self, pid: int, _arguments: Any) -> int:
        return self._move(pid, 1, 2)

    def _cuCheckpointProcessRestore(self, pid: int, _arguments: Any) -> int:
        return self._move(pid, 2, 1)

    def _cuCheckpointProcessUnlock(self, pid: int, _arguments: Any) -> int:
        return self._move(pid, 1, 0)
