"""The CUDA driver library by ctypes: one small method for each of its calls that rekindle makes.

The library is handed in: tests put an object with functions of the same names in its place. Loading
it makes no context; what does says so. Each call takes and gives plain numbers and bytes, lets
other threads run meanwhile, and raises CudaError. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import uuid
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from typing import Any

from rekindle.exception import CudaError, GpuError
from rekindle.gpu_restore.cuda_abi import (
    PROTOTYPES,
    Access,
    AllocationProperties,
    GpuPair,
    IpcHandle,
    Location,
    LockArguments,
    RestoreArguments,
    Uuid,
)

NO_DEVICE = 100
#: Out of memory, all devices busy, the operating system refuses, not ready (NVSwitch), a timeout,
#: unknown: later it may be another answer.
PASSING = frozenset({2, 46, 304, 802, 909, 999})
#: CUdevice_attribute: whether memory can be exported as a file descriptor.
SHARES_BY_DESCRIPTOR = 103

_PLACES = (
    "libcuda.so.1",
    "/usr/local/nvidia/lib64/libcuda.so.1",
    "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
    "/usr/lib/aarch64-linux-gnu/libcuda.so.1",
    "/usr/lib64/libcuda.so.1",
    "/usr/lib/wsl/lib/libcuda.so.1",
)
_POSIX_FILE_DESCRIPTOR, _PINNED, _ON_DEVICE = 1, 1, 1
_READ_WRITE = 3
_NON_BLOCKING_STREAM, _NO_TIMING = 1, 2
_PORTABLE = 1
_LAZY_PEER_ACCESS = 1


def load() -> Driver:
    """The machine's libcuda. Raises GpuError where there is none."""
    reasons: list[str] = []
    for place in _PLACES:
        try:
            library = ctypes.CDLL(place)
        except OSError as error:
            # Where it is, and cannot be loaded, that is the reason.
            reasons.insert(0 if os.path.exists(place) else len(reasons), str(error))
            continue
        for name, arguments in PROTOTYPES.items():
            function = getattr(library, name, None)
            if function is not None:
                function.argtypes, function.restype = arguments, c_int
        return Driver(library)
    raise GpuError(f"no CUDA driver library on this machine ({reasons[0]})")


class Driver:
    """The calls. ``library``: its functions, by the names of PROTOTYPES."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def has(self, name: str) -> bool:
        """Whether this driver has the call; newer ones have more."""
        return hasattr(self._library, name)

    def call(self, name: str, *arguments: Any) -> None:
        """Raises CudaError."""
        function = getattr(self._library, name, None)
        if function is None:
            raise CudaError(f"this NVIDIA driver has no {name}: it is too old", name)
        code = int(function(*arguments))
        if code != 0:
            raise CudaError(f"{name} failed: {self.error_in_words(code)}", name, code)

    def error_in_words(self, code: int) -> str:
        """``CUDA_ERROR_OUT_OF_MEMORY (2): out of memory``."""
        words = []
        for name in ("cuGetErrorName", "cuGetErrorString"):
            text = c_char_p()
            function = getattr(self._library, name, None)
            if function is not None and function(code, byref(text)) == 0 and text.value:
                words.append(text.value.decode(errors="replace"))
        return f"{words[0]} ({code}): {words[-1]}" if words else f"CUDA error {code}"

    # ---- the driver and its devices ---------------------------------------------------------

    def init(self) -> None:
        """cuInit: opens the devices of this process. No context yet."""
        self.call("cuInit", 0)

    def version(self) -> int:
        """The newest CUDA that it can run: 12080 is 12.8."""
        number = c_int()
        self.call("cuDriverGetVersion", byref(number))
        return number.value

    def count(self) -> int:
        """Devices that this process sees. Raises CudaError(NOT_INITIALIZED) before ``init``."""
        number = c_int()
        self.call("cuDeviceGetCount", byref(number))
        return number.value

    def device(self, ordinal: int) -> int:
        """The device of that number among those visible."""
        number = c_int()
        self.call("cuDeviceGet", byref(number), ordinal)
        return number.value

    def name(self, device: int) -> str:
        """``NVIDIA H200``."""
        text = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", text, len(text), device)
        return text.value.decode(errors="replace")

    def uuid(self, device: int) -> str:
        """As NVML and CUDA_VISIBLE_DEVICES name it: ``GPU-...``."""
        found = Uuid()
        self.call("cuDeviceGetUuid", byref(found), device)
        return f"GPU-{uuid.UUID(bytes=bytes(found.bytes))}"

    def attribute(self, device: int, number: int) -> int:
        """A CUdevice_attribute."""
        value = c_int()
        self.call("cuDeviceGetAttribute", byref(value), number, device)
        return value.value

    # ---- contexts ----------------------------------------------------------------------------

    def retain_primary(self, device: int) -> int:
        """Make the primary context, which CUDA's runtime and all frameworks share, or join it."""
        context = c_void_p()
        self.call("cuDevicePrimaryCtxRetain", byref(context), device)
        return context.value or 0

    def set_current(self, context: int) -> None:
        """Of the calling thread."""
        self.call("cuCtxSetCurrent", context)

    def memory(self) -> tuple[int, int]:
        """(free, total) bytes of the current context's device."""
        free, total = c_size_t(), c_size_t()
        self.call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value, total.value

    # ---- memory ------------------------------------------------------------------------------

    def allocate(self, size: int) -> int:
        """Device memory; its address."""
        address = c_uint64()
        self.call("cuMemAlloc_v2", byref(address), size)
        return address.value

    def free(self, address: int) -> None:
        """Give back what ``allocate`` gave."""
        self.call("cuMemFree_v2", address)

    def allocate_host(self, size: int) -> int:
        """Pinned host memory, for every context; its address."""
        address = c_void_p()
        self.call("cuMemHostAlloc", byref(address), size, _PORTABLE)
        return address.value or 0

    def free_host(self, address: int) -> None:
        """Give back what ``allocate_host`` gave."""
        self.call("cuMemFreeHost", address)

    # ---- copies ------------------------------------------------------------------------------

    def copy_in(self, target: int, source: int, size: int) -> None:
        """Host to device; returns when the source may be changed."""
        self.call("cuMemcpyHtoD_v2", target, source, size)

    def copy_in_async(self, target: int, source: int, size: int, stream: int) -> None:
        """Pinned host memory to the device, in the stream's order."""
        self.call("cuMemcpyHtoDAsync_v2", target, source, size, stream)

    def copy_out(self, target: int, source: int, size: int) -> None:
        """Device to host."""
        self.call("cuMemcpyDtoH_v2", target, source, size)

    def stream(self) -> int:
        """A stream that does not wait for the default one."""
        made = c_void_p()
        self.call("cuStreamCreate", byref(made), _NON_BLOCKING_STREAM)
        return made.value or 0

    def synchronize_stream(self, stream: int) -> None:
        """Wait for all that was put in."""
        self.call("cuStreamSynchronize", stream)

    def destroy_stream(self, stream: int) -> None:
        """When it is empty."""
        self.call("cuStreamDestroy_v2", stream)

    def event(self) -> int:
        """An event without a time."""
        made = c_void_p()
        self.call("cuEventCreate", byref(made), _NO_TIMING)
        return made.value or 0

    def record(self, event: int, stream: int) -> None:
        """Have it happen when all that is in the stream now is done."""
        self.call("cuEventRecord", event, stream)

    def wait_for(self, event: int) -> None:
        """Wait until it has happened."""
        self.call("cuEventSynchronize", event)

    def destroy_event(self, event: int) -> None:
        """Let it go."""
        self.call("cuEventDestroy_v2", event)

    # ---- memory for other processes: by a handle of 64 bytes --------------------------------

    def ipc_handle(self, address: int) -> bytes:
        """Of memory from ``allocate``: what another process opens."""
        handle = IpcHandle()
        self.call("cuIpcGetMemHandle", byref(handle), address)
        return bytes(handle.reserved)

    def ipc_open(self, handle: bytes) -> int:
        """Another process's memory in this one; its address here."""
        given = IpcHandle.from_buffer_copy(handle)
        address = c_uint64()
        self.call("cuIpcOpenMemHandle_v2", byref(address), given, _LAZY_PEER_ACCESS)
        return address.value

    def ipc_close(self, address: int) -> None:
        """Undo ``ipc_open``."""
        self.call("cuIpcCloseMemHandle", address)

    # ---- memory for other processes: by a file descriptor -----------------------------------

    def granularity(self, device: int) -> int:
        """Sizes for ``create`` are multiples of it."""
        size = c_size_t()
        self.call("cuMemGetAllocationGranularity", byref(size), byref(_properties(device)), 0)
        return size.value

    def create(self, device: int, size: int) -> int:
        """Device memory that can be exported, not mapped yet; a handle of this process."""
        handle = c_uint64()
        self.call("cuMemCreate", byref(handle), size, byref(_properties(device)), 0)
        return handle.value

    def release(self, handle: int) -> None:
        """Let a handle go; what is mapped of it stays until it is unmapped."""
        self.call("cuMemRelease", handle)

    def map(self, handle: int, device: int, size: int) -> int:
        """Map it, to be read and written; the address. Leaves nothing behind where it fails."""
        address = c_uint64()
        self.call("cuMemAddressReserve", byref(address), size, 0, 0, 0)
        try:
            self.call("cuMemMap", address.value, size, 0, handle, 0)
            try:
                wanted = Access(Location(_ON_DEVICE, device), _READ_WRITE)
                self.call("cuMemSetAccess", address.value, size, byref(wanted), 1)
            except CudaError:
                self.call("cuMemUnmap", address.value, size)
                raise
        except CudaError:
            self.call("cuMemAddressFree", address.value, size)
            raise
        return address.value

    def unmap(self, address: int, size: int) -> None:
        """Undo ``map``."""
        self.call("cuMemUnmap", address, size)
        self.call("cuMemAddressFree", address, size)

    def export_descriptor(self, handle: int) -> int:
        """A file descriptor of this process that stands for the memory, to be sent and closed."""
        fd = c_int(-1)
        self.call("cuMemExportToShareableHandle", byref(fd), handle, _POSIX_FILE_DESCRIPTOR, 0)
        os.set_inheritable(fd.value, False)
        return fd.value

    def import_descriptor(self, fd: int) -> int:
        """A handle of this process to the memory that a descriptor stands for, which stays open."""
        handle = c_uint64()
        self.call(
            "cuMemImportFromShareableHandle", byref(handle), c_void_p(fd), _POSIX_FILE_DESCRIPTOR
        )
        return handle.value

    # ---- checkpoints of processes (driver 570) -----------------------------------------------

    def process_state(self, pid: int) -> int:
        """CUprocessState: 0 running, 1 locked, 2 checkpointed, 3 failed."""
        state = c_int()
        self.call("cuCheckpointProcessGetState", pid, byref(state))
        return state.value

    def process_lock(self, pid: int, timeout_ms: int) -> None:
        """From now on its CUDA calls wait; what it has begun is waited for. 0 is no time limit."""
        self.call("cuCheckpointProcessLock", pid, byref(LockArguments(timeout_ms=timeout_ms)))

    def process_checkpoint(self, pid: int) -> None:
        """Of a locked process: device memory into its host memory, its devices closed."""
        self.call("cuCheckpointProcessCheckpoint", pid, None)

    def process_restore(self, pid: int, moved: dict[str, str] | None = None) -> None:
        """Undo ``process_checkpoint``; ``moved``: UUIDs then and now, of every GPU of
        the machine (from driver 580 on)."""
        if not moved:
            self.call("cuCheckpointProcessRestore", pid, None)
            return
        pairs = (GpuPair * len(moved))(
            *(GpuPair(_uuid_of(old), _uuid_of(new)) for old, new in moved.items())
        )
        arguments = RestoreArguments(pairs=pairs, pair_count=len(pairs))
        self.call("cuCheckpointProcessRestore", pid, byref(arguments))

    def process_unlock(self, pid: int) -> None:
        """Undo ``process_lock``."""
        self.call("cuCheckpointProcessUnlock", pid, None)


def _properties(device: int) -> AllocationProperties:
    return AllocationProperties(
        type=_PINNED,
        handle_types=_POSIX_FILE_DESCRIPTOR,
        location=Location(_ON_DEVICE, device),
    )


def _uuid_of(text: str) -> Uuid:
    try:
        return Uuid.from_buffer_copy(uuid.UUID(text.removeprefix("GPU-")).bytes)
    except ValueError:
        raise GpuError(f"{text!r} is no GPU's UUID") from None
