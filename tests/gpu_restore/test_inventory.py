"""The GPU inventory: what NVML says, or why it says nothing."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from rekindle.gpu_restore import inventory as room


class _NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


def _nvml(*, start_error: int = 0, gpus: int = 0, ask_error: int = 0) -> ModuleType:
    """A stand-in for pynvml on a machine that this one is not."""
    module = ModuleType("pynvml")
    calls: list[str] = []

    def start() -> None:
        if start_error:
            raise _NVMLError(start_error)
        calls.append("init")

    def count() -> int:
        if ask_error:
            raise _NVMLError(ask_error)
        return gpus

    module.__dict__.update(
        NVMLError=_NVMLError,
        NVML_ERROR_LIBRARY_NOT_FOUND=12,
        NVML_ERROR_DRIVER_NOT_LOADED=9,
        calls=calls,
        nvmlInit=start,
        nvmlShutdown=lambda: calls.append("shutdown"),
        nvmlDeviceGetCount=count,
        nvmlSystemGetCudaDriverVersion_v2=lambda: 12080,
        nvmlSystemGetDriverVersion=lambda: b"570.1",
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(total=80 << 30, free=79 << 30),
        nvmlDeviceGetCudaComputeCapability=lambda _: (9, 0),
        nvmlDeviceGetName=lambda _: "NVIDIA H200",
        nvmlDeviceGetUUID=lambda index: f"GPU-{index}",
    )
    return module


def _with(monkeypatch: pytest.MonkeyPatch, module: ModuleType | None) -> room.Inventory:
    monkeypatch.setitem(sys.modules, "pynvml", module)  # None: cannot be imported
    return room.inventory()


def test_gpus_are_listed_with_driver_and_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = _nvml(gpus=2)
    found = _with(monkeypatch, nvml)
    assert [gpu.uuid for gpu in found.gpus] == ["GPU-0", "GPU-1"]
    assert found.gpus[0].memory_bytes == 80 << 30
    assert found.gpus[0].compute_capability == (9, 0)
    assert (found.driver, found.cuda, found.reason) == ("570.1", "12.8", "")
    assert nvml.__dict__["calls"] == ["init", "shutdown"]


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (None, "pynvml is not installed"),
        (_nvml(start_error=12), "no NVIDIA driver library"),
        (_nvml(start_error=9), "driver is not loaded"),
        (_nvml(start_error=999), "NVML cannot be started: NVML error 999"),
        (_nvml(), "sees no GPU"),
        (_nvml(ask_error=15), "NVML fails: NVML error 15"),
    ],
)
def test_where_there_are_none_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType | None, reason: str
) -> None:
    found = _with(monkeypatch, module)
    assert found.gpus == ()
    assert reason in found.reason


def test_this_machine_is_asked_without_an_error() -> None:
    found = room.inventory()
    assert bool(found.gpus) != bool(found.reason)


@pytest.mark.gpu
def test_a_real_gpu_is_found() -> None:
    found = room.inventory()
    if not found.gpus:
        pytest.skip(found.reason)
    assert found.gpus[0].memory_bytes > 0
    assert found.driver
