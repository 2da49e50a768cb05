"""Which GPUs this machine has, by NVML.

Never raises: a machine without a GPU, a driver or pynvml has an empty inventory that says why.
Asking NVML makes no CUDA context.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rekindle.gpu_restore import models
from rekindle.gpu_restore.driver import NvmlAbsentError, open_nvml
from rekindle.gpu_restore.links import Links, bus_id, links
from rekindle.gpu_restore.nvml import SCOPE_NODE, Handle, Nvml, ask, text
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MigInstance:
    """A part of a GPU, with memory and processors of its own."""

    uuid: str
    profile: str  # "1g.10gb"
    memory_bytes: int
    gpu_instance: int
    compute_instance: int


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU; memory in bytes, compute capability as in ``(9, 0)``."""

    index: int
    name: str
    uuid: str
    memory_bytes: int
    free_bytes: int
    compute_capability: tuple[int, int]
    minor: int | None = None  # of its device file, /dev/nvidia<minor>
    bus_id: str = ""
    numa_node: int | None = None
    #: In MIG mode only its instances can be used.
    is_mig: bool = False
    instances: tuple[MigInstance, ...] = ()

    @property
    def model(self) -> str:
        """What it is asked for by."""
        return models.model_of(self.name)


@dataclass(frozen=True)
class Inventory:
    """The GPUs that can be used; where there are none, ``reason`` says why, in words."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: str = ""  # the newest CUDA that the driver can run, as in "12.8"
    reason: str = ""
    #: Whether that is of the moment: asked again, there may be some.
    passes: bool = False
    links: Links = field(default_factory=dict)
    #: GPUs that the driver counts and that cannot be asked, each with the reason: one that fell off
    #: its bus, say. The others are of use.
    lost: tuple[str, ...] = ()

    @property
    def cuda_version(self) -> int:
        """``cuda`` as the driver counts it: 12080; 0 where it is not known."""
        major, _, minor = self.cuda.partition(".")
        return 1000 * int(major or 0) + 10 * int(minor or 0)


def inventory() -> Inventory:
    """What NVML reports now."""
    try:
        nvml = open_nvml()
    except NvmlAbsentError as error:
        return Inventory(reason=str(error), passes=error.passes)
    try:
        return look(nvml)
    finally:
        nvml.nvmlShutdown()


def look(nvml: Nvml) -> Inventory:
    """What an open NVML reports."""
    try:
        return _ask(nvml)
    except nvml.NVMLError as error:
        return Inventory(reason=f"NVML fails: {error}")


def _ask(nvml: Nvml) -> Inventory:
    handles: list[Handle] = []
    gpus: list[Gpu] = []
    lost: list[str] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            gpus.append(_gpu(nvml, index, handle))
            handles.append(handle)
        except nvml.NVMLError as error:
            lost.append(f"GPU {index} cannot be asked: {error}")
    cuda = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
    return Inventory(
        gpus=tuple(gpus),
        driver=text(nvml.nvmlSystemGetDriverVersion()),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
        reason="" if gpus else "; ".join(lost) or "the NVIDIA driver sees no GPU",
        links=_links(nvml, handles, gpus),
        lost=tuple(lost),
    )


def _links(nvml: Nvml, handles: Sequence[Handle], gpus: Sequence[Gpu]) -> Links:
    """None are known where NVML fails to say: in a virtual machine, say. The GPUs are of use."""
    if len(gpus) < 2:
        return {}
    try:
        return links(nvml, handles, [gpu.uuid for gpu in gpus], [gpu.bus_id for gpu in gpus])
    except nvml.NVMLError as error:
        log.warning("links between GPUs are not known", extra=kv(reason=error))
        return {}


def _gpu(nvml: Nvml, index: int, handle: Handle) -> Gpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    mode = ask(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle), (0, 0))
    return Gpu(
        index=index,
        name=text(nvml.nvmlDeviceGetName(handle)),
        uuid=text(nvml.nvmlDeviceGetUUID(handle)),
        memory_bytes=int(memory.total),
        free_bytes=int(memory.free),
        compute_capability=(int(major), int(minor)),
        minor=ask(nvml, lambda: nvml.nvmlDeviceGetMinorNumber(handle), None),
        bus_id=bus_id(text(ask(nvml, lambda: nvml.nvmlDeviceGetPciInfo(handle).busId, ""))),
        numa_node=_numa_node(nvml, handle),
        is_mig=mode[0] == 1,
        instances=tuple(_instances(nvml, handle)) if mode[0] == 1 else (),
    )


def _numa_node(nvml: Nvml, handle: Handle) -> int | None:
    """The first NUMA node next to it; None where there is one alone, or it cannot be told."""
    words = ask(nvml, lambda: nvml.nvmlDeviceGetMemoryAffinity(handle, 1, SCOPE_NODE), ())
    mask = int(words[0]) if len(words) else 0
    return (mask & -mask).bit_length() - 1 if mask else None


def handles_of_instances(nvml: Nvml, handle: Handle) -> list[Handle]:
    """Of the MIG instances of a GPU."""
    count = ask(nvml, lambda: nvml.nvmlDeviceGetMaxMigDeviceCount(handle), 0)
    found = [
        ask(nvml, lambda: nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index), None)  # noqa: B023
        for index in range(count)
    ]
    return [one for one in found if one is not None]


def _instances(nvml: Nvml, handle: Handle) -> list[MigInstance]:
    made = []
    for one in handles_of_instances(nvml, handle):
        name = text(nvml.nvmlDeviceGetName(one))
        profile = re.search(r"MIG (\S+)", name)
        made.append(
            MigInstance(
                uuid=text(nvml.nvmlDeviceGetUUID(one)),
                profile=profile[1] if profile else name,
                memory_bytes=int(nvml.nvmlDeviceGetAttributes(one).memorySizeMB) << 20,
                gpu_instance=nvml.nvmlDeviceGetGpuInstanceId(one),
                compute_instance=nvml.nvmlDeviceGetComputeInstanceId(one),
            )
        )
    return made


# ---- what may be used ----------------------------------------------------------------------


def allowed(found: Inventory, environ: Mapping[str, str] | None = None) -> Inventory:
    """Those that ``$CUDA_VISIBLE_DEVICES`` of this process leaves, all where it is not set.

    It lists UUIDs, beginnings of them, or numbers, which count as nvidia-smi does. As CUDA has it,
    what follows a device that there is not does not count.
    """
    said = (os.environ if environ is None else environ).get("CUDA_VISIBLE_DEVICES")
    if said is None or not found.gpus:
        return found
    kept: dict[str, Gpu] = {}
    for name in (part.strip() for part in said.split(",")):
        gpu = _named(found.gpus, name)
        if gpu is None:
            break
        before = kept.get(gpu.uuid)
        kept[gpu.uuid] = (
            replace(gpu, instances=(*before.instances, *gpu.instances)) if before else gpu
        )
    if kept:
        return replace(found, gpus=tuple(sorted(kept.values(), key=lambda gpu: gpu.index)))
    return replace(found, gpus=(), reason=f"CUDA_VISIBLE_DEVICES={said!r} leaves no GPU")


def _named(gpus: Sequence[Gpu], name: str) -> Gpu | None:
    for gpu in gpus:
        if name == str(gpu.index) or (name.startswith("GPU-") and gpu.uuid.startswith(name)):
            return gpu
        for one in gpu.instances:
            if name.startswith("MIG-") and one.uuid.startswith(name):
                return replace(gpu, instances=(one,))
    return None
