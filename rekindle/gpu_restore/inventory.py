"""Which GPUs this machine has, by NVML (pynvml, an optional dependency).

Never raises: a machine without a GPU, a driver or pynvml has an empty inventory that says why.
Asking NVML makes no CUDA context.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU; memory in bytes, compute capability as in ``(9, 0)``."""

    index: int
    name: str
    uuid: str
    memory_bytes: int
    free_bytes: int
    compute_capability: tuple[int, int]


@dataclass(frozen=True)
class Inventory:
    """The GPUs that can be used; where there are none, ``reason`` says why, in words."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: str = ""  # the newest CUDA that the driver can run, as in "12.8"
    reason: str = ""


def inventory() -> Inventory:
    """What NVML reports now."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return Inventory(reason="pynvml is not installed (pip install 'rekindle[gpu]')")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Inventory(reason=_no_driver(nvml, error))
    try:
        return _ask(nvml)
    except nvml.NVMLError as error:
        return Inventory(reason=f"NVML fails: {error}")
    finally:
        nvml.nvmlShutdown()


def _no_driver(nvml: Any, error: Exception) -> str:
    code = getattr(error, "value", None)
    if code == nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return "no NVIDIA driver library (libnvidia-ml.so) on this machine"
    if code == nvml.NVML_ERROR_DRIVER_NOT_LOADED:
        return "the NVIDIA driver is not loaded"
    return f"NVML cannot be started: {error}"


def _ask(nvml: Any) -> Inventory:
    gpus = tuple(_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
    cuda = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
    return Inventory(
        gpus=gpus,
        driver=_text(nvml.nvmlSystemGetDriverVersion()),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
        reason="" if gpus else "the NVIDIA driver sees no GPU",
    )


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Gpu(
        index=index,
        name=_text(nvml.nvmlDeviceGetName(handle)),
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        memory_bytes=int(memory.total),
        free_bytes=int(memory.free),
        compute_capability=(int(major), int(minor)),
    )


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
