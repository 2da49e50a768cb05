"""NVML as far as it is used here: its functions, as pynvml has them, and its numbers.

How it is opened is driver.py's. Asking makes no CUDA context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND = 2, 3, 4, 6
DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND = 9, 12, 13
GPU_IS_LOST = 15
_IT_CANNOT = {INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, FUNCTION_NOT_FOUND}

#: nvmlGpuP2PCapsIndex_t and nvmlGpuP2PStatus_t.
P2P_NVLINK, P2P_OK = 2, 0
#: nvmlIntNvLinkDeviceType_t.
REMOTE_GPU, REMOTE_SWITCH = 0, 2
#: NVML_NVLINK_MAX_LINKS: no GPU has more.
MAX_LINKS = 18
#: nvmlAffinityScope_t: the NUMA nodes next to the device.
SCOPE_NODE = 0

T = TypeVar("T")
D = TypeVar("D")


class Handle(Protocol):
    """A device, as NVML hands it out; nothing is looked at in it."""


class MemoryInfo(Protocol):
    """Bytes."""

    total: int
    free: int
    used: int


class PciInfo(Protocol):
    """Where a device is."""

    busId: str | bytes


class ProcessInfo(Protocol):
    """A process that has a context on a device; ids are 0xFFFFFFFF where there is no MIG."""

    pid: int
    usedGpuMemory: int | None
    gpuInstanceId: int
    computeInstanceId: int


class ProcessSample(Protocol):
    """What a process used of a device in a period that ended at ``timeStamp``, in percent."""

    pid: int
    timeStamp: int
    smUtil: int


class Rates(Protocol):
    """Percent of the last period in which a kernel ran, and in which memory was read or written."""

    gpu: int
    memory: int


class MigAttributes(Protocol):
    """Of a MIG instance."""

    memorySizeMB: int


class Nvml(Protocol):
    """The functions of pynvml that are used, by its names (the C library's)."""

    @property
    def NVMLError(self) -> type[Exception]: ...
    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...
    def nvmlSystemGetDriverVersion(self) -> str | bytes: ...
    def nvmlSystemGetCudaDriverVersion_v2(self) -> int: ...
    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Handle: ...
    def nvmlDeviceGetName(self, device: Handle) -> str | bytes: ...
    def nvmlDeviceGetUUID(self, device: Handle) -> str | bytes: ...
    def nvmlDeviceGetMinorNumber(self, device: Handle) -> int: ...
    def nvmlDeviceGetPciInfo(self, device: Handle) -> PciInfo: ...
    def nvmlDeviceGetMemoryInfo(self, device: Handle) -> MemoryInfo: ...
    def nvmlDeviceGetCudaComputeCapability(self, device: Handle) -> Sequence[int]: ...
    def nvmlDeviceGetMemoryAffinity(
        self, device: Handle, words: int, scope: int
    ) -> Sequence[int]: ...
    def nvmlDeviceGetTopologyCommonAncestor(self, one: Handle, other: Handle) -> int: ...
    def nvmlDeviceGetP2PStatus(self, one: Handle, other: Handle, index: int) -> int: ...
    def nvmlDeviceGetNvLinkState(self, device: Handle, link: int) -> int: ...
    def nvmlDeviceGetNvLinkRemoteDeviceType(self, device: Handle, link: int) -> int: ...
    def nvmlDeviceGetNvLinkRemotePciInfo(self, device: Handle, link: int) -> PciInfo: ...
    def nvmlDeviceGetMigMode(self, device: Handle) -> Sequence[int]: ...
    def nvmlDeviceGetMaxMigDeviceCount(self, device: Handle) -> int: ...
    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Handle, index: int) -> Handle: ...
    def nvmlDeviceGetGpuInstanceId(self, device: Handle) -> int: ...
    def nvmlDeviceGetComputeInstanceId(self, device: Handle) -> int: ...
    def nvmlDeviceGetAttributes(self, device: Handle) -> MigAttributes: ...
    def nvmlDeviceGetUtilizationRates(self, device: Handle) -> Rates: ...
    def nvmlDeviceGetComputeRunningProcesses(self, device: Handle) -> Sequence[ProcessInfo]: ...
    def nvmlDeviceGetProcessUtilization(
        self, device: Handle, since: int
    ) -> Sequence[ProcessSample]: ...


def value_of(error: Exception) -> int | None:
    """NVML's number of an error."""
    value: int | None = getattr(error, "value", None)
    return value


def ask(nvml: Nvml, question: Callable[[], T], otherwise: D) -> T | D:
    """What NVML says, or ``otherwise`` where this device, driver or user cannot ask that.

    Raises NVMLError for everything else: a GPU that fell off the bus, say.
    """
    try:
        return question()
    except nvml.NVMLError as error:
        if value_of(error) in _IT_CANNOT:
            return otherwise
        raise


def text(value: str | bytes) -> str:
    """Older versions of pynvml give bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
