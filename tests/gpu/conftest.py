"""What needs an NVIDIA GPU: skipped, with the reason, where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rekindle.exception import Error
from rekindle.gpu_restore import cuda as driver
from rekindle.gpu_restore.device import CudaDevice, cuda_device


def _why_not() -> str:
    """Asked without making a context: others of this process are to make theirs."""
    try:
        library = driver.load()
        library.init()
        return "" if library.count() else "the driver sees no GPU"
    except Error as error:
        return str(error)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each test here is marked, and skipped at once where there is no GPU."""
    here = [item for item in items if "/tests/gpu/" in str(item.path)]
    why = _why_not() if here else ""
    for item in here:
        item.add_marker(pytest.mark.gpu)
        if why:
            item.add_marker(pytest.mark.skip(reason=f"no GPU: {why}"))


@pytest.fixture(autouse=True, scope="module")
def closes_what_it_opened() -> None:
    """Not counted: a context's device files are open as long as the process lives."""


@pytest.fixture
def gpu() -> CudaDevice:
    """The first one."""
    return cuda_device(0)


@pytest.fixture
def torch_cuda(monkeypatch: pytest.MonkeyPatch) -> Any:
    """torch, where it is built with CUDA, of a version that this driver runs."""
    with monkeypatch.context() as patched:
        patched.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
        from on_gpu import report, torch_here
    if why := torch_here.why_not(report.Options(False, False, Path(), 0.0)):
        pytest.skip(why)
    import torch

    return torch
