"""In a template: questions about GPUs are answered, nothing is asked, and all is undone."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rekindle.gpu_restore import before_snapshot
from rekindle.gpu_restore.before_snapshot import Template
from rekindle.gpu_restore.touched import Watch

UUIDS = ("GPU-aaaa", "GPU-bbbb")
Make = Callable[..., Template]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Templates that are undone, whatever happens."""
    made = []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def one(uuids: tuple[str, ...] = UUIDS) -> Template:
        template = Template(uuids, Watch())
        template.begin()
        made.append(template)
        return template

    yield one
    for template in made:
        template.leave()


@pytest.fixture
def torch_with_cuda(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The real torch as if built with CUDA, whose runtime must not be asked."""
    torch = pytest.importorskip("torch")

    def asked(*_args: Any) -> int:
        raise RuntimeError("No CUDA GPUs are available")

    for name in ("_cuda_getDeviceCount", "_cuda_init"):
        monkeypatch.setattr(torch._C, name, asked, raising=False)
    monkeypatch.setattr(torch.cuda, "_cudart", object())
    return torch


def test_torch_says_what_runners_will_have_and_asks_nobody(
    torch_with_cuda: Any, make: Make
) -> None:
    make()
    assert torch_with_cuda.cuda.is_available()
    assert torch_with_cuda.cuda.device_count() == 2
    assert not torch_with_cuda.cuda.is_initialized()


def test_without_a_gpu_to_come_there_is_none(torch_with_cuda: Any, make: Make) -> None:
    make(())
    assert not torch_with_cuda.cuda.is_available()


def test_cuda_visible_devices_counts_as_ever(
    torch_with_cuda: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bbbb")
    assert torch_with_cuda.cuda.device_count() == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not torch_with_cuda.cuda.is_available()


def test_using_cuda_is_noted_with_its_line_and_says_where_it_belongs(
    torch_with_cuda: Any, make: Make
) -> None:
    template = make()
    with pytest.raises(Exception) as raised:
        torch_with_cuda.cuda.init()
    assert any("@rekindle.enter()" in note for note in raised.value.__notes__)
    assert "test_before_snapshot.py" in template.watch.where


def test_in_a_runner_torch_is_as_it_was(
    torch_with_cuda: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "0")
    cuda, native = torch_with_cuda.cuda, torch_with_cuda._C
    names = ("_raw_device_count_nvml", "_raw_device_uuid_nvml")
    before = [getattr(cuda, name) for name in names] + [native._cuda_init]
    template = make()
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"
    template.leave()
    template.leave()
    assert [getattr(cuda, name) for name in names] + [native._cuda_init] == before
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "0"
    assert not any(type(one).__module__ == before_snapshot.__name__ for one in sys.meta_path)


def test_torch_has_what_is_put_in_its_place() -> None:
    """A torch without these would ask NVML, and leave its device files open."""
    torch = pytest.importorskip("torch")
    assert callable(torch.cuda._raw_device_count_nvml)
    assert callable(torch.cuda._raw_device_uuid_nvml)
    assert torch.cuda._nvml_based_avail() is (
        os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK") == "1"
    )


@pytest.mark.parametrize("name", ["cupy", "numba"])
def test_cupy_and_numba_are_answered_when_they_are_imported(
    name: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (name, f"{name}.cuda"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    package = tmp_path / name / "cuda"
    package.mkdir(parents=True)
    (tmp_path / name / "__init__.py").write_text("")
    (package / "__init__.py").write_text(
        "def is_available():\n    raise OSError('CUDA was asked')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    template = make()
    cuda = importlib.import_module(f"{name}.cuda")
    assert cuda.is_available() is True
    # The module is its own again: inspect, pickle and reload see their own loader.
    assert type(cuda.__loader__) is type(cuda.__spec__.loader)
    assert cuda.__loader__.__class__.__name__ == "SourceFileLoader"
    template.leave()
    with pytest.raises(OSError, match="CUDA was asked"):
        cuda.is_available()
    for module in (name, f"{name}.cuda"):
        del sys.modules[module]


def test_a_module_that_is_not_installed_is_missing_as_ever(make: Make) -> None:
    make()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("cupy.cuda")
