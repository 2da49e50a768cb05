"""The one place that brings CUDA up: what it sets, forgets and refuses, and in which words."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import rekindle
from rekindle.exception import GpuError
from rekindle.gpu_restore import before_snapshot, context, device, marks
from rekindle.gpu_restore import cuda as driver_room
from rekindle.gpu_restore.cuda import Driver
from rekindle.gpu_restore.touched import Watch
from rekindle.wire.phases import Mark, Phase
from tests.gpu_restore.fake_cuda import FakeCuda


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """Two GPUs, and a process that has not used them; no torch."""
    library = FakeCuda(gpus=2)
    monkeypatch.setattr(driver_room, "load", lambda: Driver(library))
    monkeypatch.setattr(context, "_ready", None)
    monkeypatch.setattr(device, "_devices", {})
    monkeypatch.setattr(before_snapshot, "_current", None)
    for name in ("torch", "torch.cuda", "cupy.cuda"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in (*context.DEFAULTS, "REKINDLE_GPUS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield library


def _torch(monkeypatch: pytest.MonkeyPatch, *, bad_fork: bool = False) -> Any:
    calls: list[Any] = []
    module: Any = ModuleType("torch")
    module.calls = calls
    module._C = SimpleNamespace(
        _cuda_init=lambda: None,
        _accelerator_setAllocatorSettings=lambda said: calls.append(("allocator", said)),
    )
    module.cuda = SimpleNamespace(
        _is_in_bad_fork=lambda: bad_fork,
        _cached_device_count=0,
        _initialized=False,
        init=lambda: calls.append("init"),
        get_device_properties=lambda _n: SimpleNamespace(total_memory=80 << 30),
        set_per_process_memory_fraction=lambda part, _n: calls.append(("share", part)),
    )
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setitem(sys.modules, "torch.cuda", module.cuda)
    return module


def test_every_visible_gpu_gets_its_primary_context_once(cuda: FakeCuda) -> None:
    ready = rekindle.gpu.ready()
    assert ready.names == ("NVIDIA Fake", "NVIDIA Fake") and len(ready.uuids) == 2
    assert cuda.contexts == {0: 1, 1: 1}
    assert rekindle.gpu.ready() is ready
    assert cuda.contexts == {0: 1, 1: 1}


def test_modules_load_lazily_unless_the_user_says_otherwise(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    rekindle.gpu.ready()
    assert os.environ["CUDA_MODULE_LOADING"] == "LAZY"
    assert os.environ["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"


def test_torch_forgets_that_there_was_no_cuda_and_is_started(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = _torch(monkeypatch)
    rekindle.gpu.ready()
    assert torch.cuda._cached_device_count is None
    assert torch.calls == ["init"]


def test_a_torch_that_user_code_has_started_is_left_as_it_is(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = _torch(monkeypatch)
    torch.cuda._initialized, torch.cuda._cached_device_count = True, 2
    rekindle.gpu.ready()
    assert torch.cuda._initialized and torch.cuda._cached_device_count == 2


def test_a_share_and_allocator_settings_reach_torch(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = _torch(monkeypatch)
    monkeypatch.setenv("REKINDLE_GPU_MEMORY_MIB", str(20 << 10))
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    rekindle.gpu.ready()
    assert torch.calls == [
        ("allocator", "expandable_segments:True"),
        "init",
        ("share", 0.25),
    ]


def test_cupys_answer_from_before_is_forgotten(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    cupy = SimpleNamespace(_available=False)
    monkeypatch.setitem(sys.modules, "cupy.cuda", cupy)  # type: ignore[arg-type]
    rekindle.gpu.ready()
    assert cupy._available is None


def test_a_fork_of_a_process_with_cuda_is_refused_in_words(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    _torch(monkeypatch, bad_fork=True)
    with pytest.raises(GpuError, match="CUDA was used before this process was forked"):
        rekindle.gpu.ready()
    assert not cuda.initialised


def test_before_the_snapshot_it_is_refused_and_says_where_it_belongs(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = before_snapshot.Template(("GPU-a",), Watch())
    monkeypatch.setattr(before_snapshot, "_current", template)
    with pytest.raises(GpuError, match=r"@rekindle.enter\(\)"):
        rekindle.gpu.ready()
    assert not cuda.initialised
    template.leave()
    assert rekindle.gpu.ready().names


def test_no_gpu_is_said_with_what_was_visible(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda.uuids.clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-gone")
    with pytest.raises(GpuError, match="CUDA sees no GPU with CUDA_VISIBLE_DEVICES='GPU-gone'"):
        rekindle.gpu.ready()


def test_another_gpu_than_the_one_that_was_given_is_an_error(
    cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_GPUS", "GPU-11111111-0000-0000-0000-000000000000")
    with pytest.raises(GpuError, match="was given GPU-11111111"):
        rekindle.gpu.ready()


def test_time_for_the_gpu_is_a_phase_and_the_rest_of_a_hook_another(cuda: FakeCuda) -> None:
    chain: list[Mark] = []
    with marks.within(chain, Phase.ENTER_RUNNER):
        rekindle.gpu.ready()
    with marks.phase(Phase.GPU_CONTEXT):
        pass  # no chain is being written
    assert [name for name, _at in chain] == ["enter_runner", "gpu_context"]


def test_without_torch_what_needs_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for call in (lambda: rekindle.gpu.to_device([]), lambda: rekindle.gpu.load_safetensors("x")):
        with pytest.raises(GpuError, match="install torch"):
            call()
