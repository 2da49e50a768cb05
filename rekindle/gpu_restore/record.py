"""``python -m rekindle.gpu_restore.record``: this machine's GPUs as JSON; recorded.py plays it."""

from __future__ import annotations

import json
import sys

from rekindle.gpu_restore.driver import NvmlAbsentError, open_nvml
from rekindle.gpu_restore.inventory import look
from rekindle.gpu_restore.links import Level, between, nvlink_ends
from rekindle.gpu_restore.nvml import Nvml
from rekindle.gpu_restore.recorded import RecordedGpu, Recording


def record(nvml: Nvml) -> Recording:
    """This machine's GPUs, without its processes. Raises NVMLError, and NvmlAbsentError where there
    is none or one is lost: that would be another machine."""
    found = look(nvml)
    if reason := found.reason or "; ".join(found.lost):
        raise NvmlAbsentError(reason)
    gpus: list[RecordedGpu] = []
    for gpu in found.gpus:
        handle = nvml.nvmlDeviceGetHandleByIndex(gpu.index)
        one: RecordedGpu = {
            "name": gpu.name,
            "uuid": gpu.uuid,
            "minor": gpu.minor if gpu.minor is not None else gpu.index,
            "bus_id": gpu.bus_id,
            "numa_node": gpu.numa_node,
            "compute_capability": list(gpu.compute_capability),
            "memory_mib": gpu.memory_bytes >> 20,
            "used_mib": (gpu.memory_bytes - gpu.free_bytes) >> 20,
        }
        if ends := nvlink_ends(nvml, handle):
            one["nvlinks"] = ends
        if gpu.is_mig:
            one["mig"] = [
                {
                    "uuid": part.uuid,
                    "profile": part.profile,
                    "memory_mib": part.memory_bytes >> 20,
                    "gpu_instance": part.gpu_instance,
                    "compute_instance": part.compute_instance,
                }
                for part in gpu.instances
            ]
        gpus.append(one)
    levels = [
        [
            0
            if one.uuid == other.uuid
            else _ancestor(between(found.links, one.uuid, other.uuid).level)
            for other in found.gpus
        ]
        for one in found.gpus
    ]
    return {
        "driver": found.driver,
        "cuda": found.cuda_version,
        "gpus": gpus,
        "levels": levels,
    }


def _ancestor(level: Level) -> int:
    return 0 if level <= Level.BOARD else int(level)


def main() -> int:
    """Write this machine's recording to standard output; 1 where NVML cannot be asked."""
    try:
        found = record(open_nvml())
    except NvmlAbsentError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    json.dump(found, sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
