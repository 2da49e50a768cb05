"""What GPUs are used for now: memory and processors, by device and by process.

NVML says process ids of the caller's PID namespace (drivers before about 510: of the machine's), so
whoever asks from inside a container may see processes that it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rekindle.gpu_restore.inventory import handles_of_instances
from rekindle.gpu_restore.nvml import NOT_FOUND, Handle, Nvml, ask, text, value_of


@dataclass(frozen=True)
class DeviceUse:
    """Of a GPU, or of an instance of one."""

    total_bytes: int
    used_bytes: int  # by all, the driver's part included
    busy_percent: int | None = None  # of the last period in which a kernel ran; None: not known


@dataclass(frozen=True)
class ProcessUse:
    """Of one process on one device."""

    pid: int
    device: str  # UUID
    used_bytes: int
    busy_percent: int | None = None  # of the processors, since the last look; None: not known


@dataclass(frozen=True)
class Usage:
    """At one moment. A GPU that cannot be asked is not among the devices."""

    devices: dict[str, DeviceUse] = field(default_factory=dict)
    processes: tuple[ProcessUse, ...] = ()


class Watch:
    """Looks now and then, over an open NVML; not for several threads at a time."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self._seen: dict[str, int] = {}  # UUID -> time of the newest sample, by NVML's clock

    def look(self) -> Usage:
        """What is used now. Raises NVMLError where the driver cannot be asked at all."""
        devices: dict[str, DeviceUse] = {}
        processes: list[ProcessUse] = []
        for index in range(self._nvml.nvmlDeviceGetCount()):
            try:
                found, used_by = self._look_at(index)
            except self._nvml.NVMLError:
                continue  # this one is lost: the others are not
            devices |= found
            processes += used_by
        return Usage(devices, tuple(processes))

    def _look_at(self, index: int) -> tuple[dict[str, DeviceUse], list[ProcessUse]]:
        """A GPU and its instances, and the processes on them."""
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = text(self._nvml.nvmlDeviceGetUUID(handle))
        parts = self._instances(handle)
        devices = {uuid: self._device(handle)}
        devices |= {part: self._device(one) for part, one in parts.values()}
        places = {ids: part for ids, (part, _) in parts.items()}
        return devices, list(self._processes(handle, uuid, places))

    def close(self) -> None:
        """Let go of the driver."""
        self._nvml.nvmlShutdown()

    def _device(self, handle: Handle) -> DeviceUse:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        rates = ask(self._nvml, lambda: self._nvml.nvmlDeviceGetUtilizationRates(handle), None)
        busy = int(rates.gpu) if rates is not None else None
        return DeviceUse(int(memory.total), int(memory.used), busy)

    def _instances(self, handle: Handle) -> dict[tuple[int, int], tuple[str, Handle]]:
        """By their numbers; none where the GPU is not in MIG mode."""
        mode = ask(self._nvml, lambda: self._nvml.nvmlDeviceGetMigMode(handle), (0, 0))
        if mode[0] != 1:
            return {}
        return {
            (
                self._nvml.nvmlDeviceGetGpuInstanceId(one),
                self._nvml.nvmlDeviceGetComputeInstanceId(one),
            ): (text(self._nvml.nvmlDeviceGetUUID(one)), one)
            for one in handles_of_instances(self._nvml, handle)
        }

    def _processes(
        self, handle: Handle, uuid: str, parts: dict[tuple[int, int], str]
    ) -> Iterator[ProcessUse]:
        busy = self._busy(handle, uuid)
        found = ask(self._nvml, lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(handle), ())
        for one in found:
            yield ProcessUse(
                pid=int(one.pid),
                device=parts.get((one.gpuInstanceId, one.computeInstanceId), uuid),
                used_bytes=int(one.usedGpuMemory or 0),
                busy_percent=busy.get(int(one.pid)) if busy is not None else None,
            )

    def _busy(self, handle: Handle, uuid: str) -> dict[int, int] | None:
        """Process id -> percent of the processors, the mean of the samples since the last look.

        Empty where no process did anything; None where the device does not say.
        """
        nvml, since = self._nvml, self._seen.get(uuid, 0)
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(handle, since)
        except nvml.NVMLError as error:
            # It has no samples; or pynvml raised the success that comes with none.
            return {} if value_of(error) in (0, NOT_FOUND) else None
        taken: dict[int, list[int]] = {}
        for one in samples:
            if one.timeStamp > since:  # the driver fills up with what is not set
                taken.setdefault(int(one.pid), []).append(int(one.smUtil))
                self._seen[uuid] = max(self._seen.get(uuid, 0), int(one.timeStamp))
        return {pid: round(sum(said) / len(said)) for pid, said in taken.items()}
