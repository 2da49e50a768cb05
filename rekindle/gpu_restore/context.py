"""The GPU of a runner, after fork, restore or a cold boot: the one place that brings CUDA up.

In order: what answered in the template's place is taken away; the environment of CUDA and of its
allocators is completed; what libraries remember of a process without CUDA is forgotten; the
driver is started and the primary context of each GPU made, which the CUDA runtime and every
framework use. Standard library only, until user code has imported more.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

from rekindle.exception import CudaError, GpuError
from rekindle.gpu_restore import before_snapshot, cuda, marks
from rekindle.gpu_restore.device import cuda_device
from rekindle.wire import gpu_environment
from rekindle.wire.phases import Phase

#: Unless the user's environment says otherwise. Kernels are loaded when they are first used, not
#: all at once with the context; devices are numbered as NVML does.
DEFAULTS = {"CUDA_MODULE_LOADING": "LAZY", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")


@dataclass(frozen=True)
class Ready:
    """The GPUs that can be used now, and how long it took to make them so, in seconds."""

    names: tuple[str, ...]
    uuids: tuple[str, ...]
    seconds: float
    init_s: float = 0.0  # of that: cuInit
    torch_s: float = 0.0  # of that: torch's own


#: With the process that it is true of: a fork has none of its parent's.
_ready: tuple[int, Ready] | None = None


def bring_up() -> Ready:
    """Make every visible GPU usable in this process; at once where that was done before.

    Raises GpuError: before a snapshot, without a driver or a GPU, in a process that was forked from
    one with CUDA, for a device that fails.
    """
    global _ready
    if _ready is not None and _ready[0] == os.getpid():
        _ready = (os.getpid(), _as_given(_ready[1]))
        return _ready[1]
    if before_snapshot.too_early():
        raise GpuError(before_snapshot.TOO_EARLY)
    with marks.phase(Phase.GPU_CONTEXT):
        ready = _bring_up()
    _ready = (os.getpid(), ready)
    return ready


def _bring_up() -> Ready:
    started = time.perf_counter()
    complete_environment()
    forget_no_cuda()
    driver = cuda.load()
    try:
        driver.init()
    except CudaError as error:
        raise GpuError(_why_no_cuda(error)) from error
    init_s = time.perf_counter() - started
    count = driver.count()
    if count == 0:
        raise GpuError(f"CUDA sees no GPU{_visible()}")
    devices = [cuda_device(ordinal) for ordinal in range(count)]
    devices[0].bind()
    _check_given([device.uuid for device in devices])
    began = time.perf_counter()
    _start_torch()
    ended = time.perf_counter()
    return Ready(
        tuple(device.name for device in devices),
        tuple(device.uuid for device in devices),
        ended - started,
        init_s,
        ended - began,
    )


def _as_given(ready: Ready) -> Ready:
    """After a GPU snapshot was restored: on other GPUs of the same kind, maybe."""
    given = gpu_environment.uuids(os.environ)
    return replace(ready, uuids=given) if len(given) == len(ready.uuids) else ready


def complete_environment() -> None:
    """Before CUDA reads it."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def forget_no_cuda() -> None:
    """Caches of a process that had no CUDA, in the libraries that are loaded.

    Raises GpuError where torch knows that this process was forked from one that had it: the
    driver's state came along and is of no use, here or to torch.
    """
    torch_cuda: Any = sys.modules.get("torch.cuda")
    if torch_cuda is not None:
        if getattr(torch_cuda, "_is_in_bad_fork", lambda: False)():
            raise GpuError(
                "CUDA was used before this process was forked, so it cannot be used here: "
                "use the GPU in @enter(snap=False) only"
            )
        if not torch_cuda._initialized:
            torch_cuda._cached_device_count = None
            bf16 = getattr(torch_cuda, "_check_bf16_tensor_supported", None)
            getattr(bf16, "cache_clear", lambda: None)()
    cupy_cuda: Any = sys.modules.get("cupy.cuda")
    if cupy_cuda is not None and hasattr(cupy_cuda, "_available"):
        cupy_cuda._available = None


def _start_torch() -> None:
    """Where user code has imported torch with CUDA: its own initialisation, and its share."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not hasattr(torch._C, "_cuda_init"):
        return
    _set_allocator(torch)
    torch.cuda.init()
    share = os.environ.get(gpu_environment.MEMORY_MIB, "")
    if share:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, int(share) * 2**20 / total), 0)


def _set_allocator(torch: Any) -> None:
    """Torch may have read these variables in the template, where they said something else."""
    said = next((os.environ[name] for name in _ALLOCATOR if name in os.environ), None)
    setter = getattr(torch._C, "_accelerator_setAllocatorSettings", None) or getattr(
        torch._C, "_cuda_cudaCachingAllocator_set_allocator_settings", None
    )
    if said and setter is not None:
        setter(said)


def _check_given(uuids: list[str]) -> None:
    given = gpu_environment.uuids(os.environ)
    missing = [one for one in given if one.startswith("GPU-") and one not in uuids]
    if missing:
        raise GpuError(
            f"this runner was given {', '.join(missing)}, and CUDA sees {', '.join(uuids)}"
        )


def _why_no_cuda(error: CudaError) -> str:
    if error.code == cuda.NO_DEVICE:
        return f"CUDA sees no GPU{_visible()} ({error})"
    return f"CUDA cannot be started: {error}"


def _visible() -> str:
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if said is None else f" with CUDA_VISIBLE_DEVICES={said!r}"
