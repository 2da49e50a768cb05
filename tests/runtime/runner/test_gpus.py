"""What a template and a runner do about GPUs: phases in order, templates left, reasons in words."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

import rekindle
from rekindle.forkserver.inspection import Inspection
from rekindle.gpu_restore import before_snapshot, context, device, marks, touched
from rekindle.gpu_restore import cuda as driver_room
from rekindle.gpu_restore.cuda import Driver
from rekindle.runtime.runner import gpus
from rekindle.runtime.runner.service import Service
from rekindle.wire.gpu_environment import EXPECTED, GPUS
from rekindle.wire.phases import Mark
from tests.gpu_restore.fake_cuda import FakeCuda


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """One with a GPU's driver, that was no template so far."""
    library = FakeCuda()
    monkeypatch.setattr(driver_room, "load", lambda: Driver(library))
    monkeypatch.setattr(context, "_ready", None)
    monkeypatch.setattr(device, "_devices", {})
    monkeypatch.setattr(before_snapshot, "_current", None)
    for name in ("torch", "torch.cuda"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in (GPUS, EXPECTED, *context.DEFAULTS):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield library
    if (template := before_snapshot.current()) is not None:
        template.leave()


def test_a_runner_with_a_gpu_has_its_context_before_its_hooks(
    process: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GPUS, "GPU-00000000-0000-0000-0000-000000000001")
    seen: list[int] = []
    chain: list[Mark] = []
    service = Service("f", {}, enter=[lambda: seen.append(process.contexts[0])])
    assert gpus.run_hooks(service, chain) == []
    assert seen == [1]
    assert [name for name, _at in chain] == ["gpu_context", "enter_runner"]


def test_a_runner_without_one_has_none(process: FakeCuda) -> None:
    chain: list[Mark] = []
    gpus.run_hooks(Service("f", {}), chain)
    assert not chain and not process.calls


def test_what_a_hook_does_on_the_gpu_is_taken_out_of_its_phase_and_noted() -> None:
    def hook() -> None:
        rekindle.gpu.ready()
        marks.note("weights: 1 GB")

    chain: list[Mark] = []
    assert gpus.run_hooks(Service("f", {}, enter=[hook]), chain) == ["weights: 1 GB"]
    assert [name for name, _at in chain] == ["enter_runner", "gpu_context", "enter_runner"]
    assert gpus.run_hooks(Service("f", {}), chain) == []


def test_a_template_that_expects_a_gpu_is_left_by_its_runner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(EXPECTED, "GPU-a,GPU-b")
    gpus.in_template()
    template = before_snapshot.current()
    assert template is not None and template.uuids == ("GPU-a", "GPU-b")
    assert before_snapshot.too_early()
    gpus.loaded()
    gpus.run_hooks(Service("f", {}), [])
    assert not before_snapshot.too_early()
    assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in os.environ


def test_an_inspection_names_the_line_in_the_place_of_device_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(EXPECTED, "GPU-a")
    gpus.in_template()
    template = before_snapshot.current()
    assert template is not None
    template.watch.where = "app.py:7 in load"
    monkeypatch.setattr(touched, "open_files", lambda _prefix="": ["/dev/nvidia-uvm"])
    found = Inspection(
        [],
        fork_unsafe=["open device: fd 9 is /dev/nvidiactl", "a thread"],
        dump_unsafe=["open device: fd 9 is /dev/nvidiactl; later"],
    )
    gpus.inspect(found)
    reason = "CUDA was initialised at app.py:7 in load; use the GPU in @enter(snap=False) only"
    assert found.fork_unsafe == [reason, "a thread"]
    assert found.dump_unsafe == [reason]


def test_without_gpus_a_template_has_nothing_to_do_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os.path, "exists", lambda _path: False)
    gpus.in_template()
    gpus.loaded()
    found = Inspection([], fork_unsafe=["a thread"])
    gpus.inspect(found)
    assert before_snapshot.current() is None and found.fork_unsafe == ["a thread"]
