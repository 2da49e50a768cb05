"""Plays a recorded machine (record.py makes them) in place of NVML.

``RecordedNvml`` has the functions of pynvml that are used here and answers them from a recording,
so that placement, and what reports on it, runs on machines without a GPU. It has no device files
and no CUDA: what is started with it computes nothing on a GPU.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from rekindle.gpu_restore.nvml import (
    GPU_IS_LOST,
    INVALID_ARGUMENT,
    NOT_FOUND,
    NOT_SUPPORTED,
    P2P_NVLINK,
    P2P_OK,
    REMOTE_GPU,
    REMOTE_SWITCH,
)

_NO_ID = 0xFFFFFFFF


class RecordedInstance(TypedDict):
    """A MIG instance."""

    uuid: str
    profile: str
    memory_mib: int
    gpu_instance: int
    compute_instance: int


class RecordedProcess(TypedDict):
    """A process that holds memory of a GPU."""

    pid: int
    memory_mib: int
    sm_percent: NotRequired[int]
    gpu_instance: NotRequired[int]
    compute_instance: NotRequired[int]


class RecordedGpu(TypedDict):
    """One GPU; ``nvlinks``: where each of its links leads, a bus id or "switch"."""

    name: str
    uuid: str
    minor: int
    bus_id: str
    numa_node: int | None
    compute_capability: list[int]
    memory_mib: int
    used_mib: int
    gpu_percent: NotRequired[int]
    memory_percent: NotRequired[int]
    nvlinks: NotRequired[list[str]]
    mig: NotRequired[list[RecordedInstance]]  # there: the GPU is in MIG mode
    processes: NotRequired[list[RecordedProcess]]
    lost: NotRequired[bool]  # it fell off its bus: the driver counts it, and cannot ask it


class Recording(TypedDict):
    """A machine; ``levels``: for each pair of GPUs, NVML's common ancestor."""

    driver: str
    cuda: int
    gpus: list[RecordedGpu]
    levels: list[list[int]]


_EVERY_GPU_HAS = {
    *("name", "uuid", "minor", "bus_id", "numa_node"),
    *("compute_capability", "memory_mib", "used_mib"),
}


def read(path: str | Path) -> Recording:
    """A recording from its file. Raises OSError and ValueError."""
    recording: Recording = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(recording, dict) or not {"driver", "cuda", "gpus"} <= recording.keys():
        raise ValueError("it is no recording of GPUs")
    for number, gpu in enumerate(recording["gpus"]):
        if missing := _EVERY_GPU_HAS - gpu.keys():
            raise ValueError(f"GPU {number} is recorded without {', '.join(sorted(missing))}")
    return recording


class RecordedError(Exception):
    """In place of pynvml's NVMLError."""

    def __init__(self, value: int) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


@dataclass(frozen=True)
class _Device:
    """A handle: a GPU's number, and an instance's where it is one of these."""

    gpu: int
    instance: int | None = None


@dataclass
class _Pci:
    busId: str | bytes


@dataclass
class _Memory:
    total: int
    free: int
    used: int


@dataclass
class _Attributes:
    memorySizeMB: int


@dataclass
class _Rates:
    gpu: int
    memory: int


@dataclass
class _Process:
    pid: int
    usedGpuMemory: int | None
    gpuInstanceId: int
    computeInstanceId: int


@dataclass
class _Sample:
    pid: int
    timeStamp: int
    smUtil: int


class RecordedNvml:
    """See the module. The recording is read again for each question, so tests may change it."""

    NVMLError = RecordedError

    def __init__(self, recording: Callable[[], Recording]) -> None:
        self._read = recording
        self._open = 0
        recording()  # what cannot be read is said now

    def _gpu(self, device: object) -> RecordedGpu:
        if not self._open:
            raise RecordedError(1)
        assert isinstance(device, _Device)
        return self._read()["gpus"][device.gpu]

    def _instance(self, device: object) -> RecordedInstance | None:
        gpu = self._gpu(device)
        assert isinstance(device, _Device)
        return None if device.instance is None else gpu.get("mig", [])[device.instance]

    def _a_part(self, device: object) -> RecordedInstance:
        one = self._instance(device)
        if one is None:
            raise RecordedError(INVALID_ARGUMENT)
        return one

    # ---- of the machine

    def nvmlInit(self) -> None:
        self._open += 1

    def nvmlShutdown(self) -> None:
        self._open -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return self._read()["driver"]

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return self._read()["cuda"]

    def nvmlDeviceGetCount(self) -> int:
        return len(self._read()["gpus"])

    def nvmlDeviceGetHandleByIndex(self, index: int) -> _Device:
        if self._read()["gpus"][index].get("lost"):
            raise RecordedError(GPU_IS_LOST)
        return _Device(index)

    # ---- of a device

    def nvmlDeviceGetName(self, device: object) -> str:
        one = self._instance(device)
        name = self._gpu(device)["name"]
        return f"{name} MIG {one['profile']}" if one else name

    def nvmlDeviceGetUUID(self, device: object) -> str:
        return (self._instance(device) or self._gpu(device))["uuid"]

    def nvmlDeviceGetMinorNumber(self, device: object) -> int:
        return self._gpu(device)["minor"]

    def nvmlDeviceGetPciInfo(self, device: object) -> _Pci:
        return _Pci(busId=f"0000{self._gpu(device)['bus_id'].upper()}".encode())

    def nvmlDeviceGetMemoryInfo(self, device: object) -> _Memory:
        one, gpu = self._instance(device), self._gpu(device)
        total = (one or gpu)["memory_mib"]
        used = 0 if one else gpu["used_mib"]
        return _Memory(total=total << 20, used=used << 20, free=(total - used) << 20)

    def nvmlDeviceGetCudaComputeCapability(self, device: object) -> Sequence[int]:
        return self._gpu(device)["compute_capability"]

    def nvmlDeviceGetMemoryAffinity(self, device: object, words: int, scope: int) -> Sequence[int]:
        node = self._gpu(device)["numa_node"]
        if node is None:
            raise RecordedError(NOT_SUPPORTED)
        return [1 << node] + [0] * (words - 1)

    # ---- between devices

    def nvmlDeviceGetTopologyCommonAncestor(self, one: object, other: object) -> int:
        self._gpu(one)
        assert isinstance(one, _Device) and isinstance(other, _Device)
        return self._read()["levels"][one.gpu][other.gpu]

    def nvmlDeviceGetP2PStatus(self, one: object, other: object, index: int) -> int:
        if index != P2P_NVLINK:
            raise RecordedError(INVALID_ARGUMENT)
        ends = [self._gpu(device).get("nvlinks", []) for device in (one, other)]
        switched = all("switch" in links for links in ends)
        direct = self._gpu(other)["bus_id"] in ends[0]
        return P2P_OK if switched or direct else 5

    def _link(self, device: object, link: int) -> str:
        links = self._gpu(device).get("nvlinks")
        if links is None:
            raise RecordedError(NOT_SUPPORTED)
        if link >= len(links):
            raise RecordedError(INVALID_ARGUMENT)
        return links[link]

    def nvmlDeviceGetNvLinkState(self, device: object, link: int) -> int:
        return int(bool(self._link(device, link)))

    def nvmlDeviceGetNvLinkRemoteDeviceType(self, device: object, link: int) -> int:
        return REMOTE_SWITCH if self._link(device, link) == "switch" else REMOTE_GPU

    def nvmlDeviceGetNvLinkRemotePciInfo(self, device: object, link: int) -> _Pci:
        return _Pci(busId=f"0000{self._link(device, link).upper()}".encode())

    # ---- MIG

    def nvmlDeviceGetMigMode(self, device: object) -> Sequence[int]:
        mode = int("mig" in self._gpu(device))
        return [mode, mode]

    def nvmlDeviceGetMaxMigDeviceCount(self, device: object) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: object, index: int) -> _Device:
        assert isinstance(device, _Device)
        if index >= len(self._gpu(device).get("mig", [])):
            raise RecordedError(NOT_FOUND)
        return _Device(device.gpu, index)

    def nvmlDeviceGetGpuInstanceId(self, device: object) -> int:
        return self._a_part(device)["gpu_instance"]

    def nvmlDeviceGetComputeInstanceId(self, device: object) -> int:
        return self._a_part(device)["compute_instance"]

    def nvmlDeviceGetAttributes(self, device: object) -> _Attributes:
        return _Attributes(memorySizeMB=self._a_part(device)["memory_mib"])

    # ---- what uses it

    def nvmlDeviceGetUtilizationRates(self, device: object) -> _Rates:
        gpu = self._gpu(device)
        if "mig" in gpu:  # as the driver has it
            raise RecordedError(NOT_SUPPORTED)
        return _Rates(gpu=gpu.get("gpu_percent", 0), memory=gpu.get("memory_percent", 0))

    def nvmlDeviceGetComputeRunningProcesses(self, device: object) -> list[_Process]:
        return [
            _Process(
                pid=one["pid"],
                usedGpuMemory=one["memory_mib"] << 20,
                gpuInstanceId=one.get("gpu_instance", _NO_ID),
                computeInstanceId=one.get("compute_instance", _NO_ID),
            )
            for one in self._gpu(device).get("processes", [])
        ]

    def nvmlDeviceGetProcessUtilization(self, device: object, since: int) -> list[_Sample]:
        found = [one for one in self._gpu(device).get("processes", []) if "sm_percent" in one]
        if not found:
            raise RecordedError(NOT_FOUND)
        return [
            _Sample(pid=one["pid"], timeStamp=since + 1, smUtil=one["sm_percent"]) for one in found
        ]
