"""A module's parameters held: no copy the second time, others told apart."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.gpu_restore.holding.server import Holder
from rekindle.gpu_restore.host_device import HostDevice

torch = pytest.importorskip("torch")


@pytest.fixture
def holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """One in a thread, and the environment of a runner that has it."""
    path = str(tmp_path / "holder.sock")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    one = Holder(HostDevice())
    wake, waker = socket.socketpair()
    one.wake_on(wake.fileno())
    thread = threading.Thread(target=one.serve, args=(listening,))
    thread.start()
    monkeypatch.setenv("REKINDLE_GPU_HOLDER", path)
    monkeypatch.setenv("REKINDLE_GPU_REVISION", "r1")
    monkeypatch.setattr(rekindle.gpu, "_holder", None)
    monkeypatch.setattr(rekindle.gpu, "_transfers", [])
    yield path
    one.stop()
    waker.send(b"x")
    thread.join()
    for end in (wake, waker, listening):
        end.close()


def _module(seed: int, width: int = 8) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.BatchNorm1d(width))


def test_the_second_runner_copies_no_parameter(holder: str) -> None:
    first, second = _module(1), _module(2)
    rekindle.gpu.to_device(first, "cpu", hold=True)
    rekindle.gpu.to_device(second, "cpu", hold=True)
    one, two = rekindle.gpu.transfers()
    buffers = sum(b.numel() * b.element_size() for b in second.buffers())
    assert two.size == buffers < one.size
    for mine, theirs in zip(second.parameters(), first.parameters(), strict=True):
        assert torch.equal(mine, theirs) and mine.data_ptr() != theirs.data_ptr()
    with torch.no_grad():
        first[0].weight[0, 0] = 42  # one memory, seen at two addresses
    assert second[0].weight[0, 0] == 42


def test_buffers_are_each_runners_own(holder: str) -> None:
    first, second = _module(1), _module(1)
    for module in (first, second):
        rekindle.gpu.to_device(module, "cpu", hold=True)
    first[1].running_mean.fill_(5)
    assert not second[1].running_mean.any()


def test_another_module_by_the_same_name_has_its_own_copy(holder: str) -> None:
    rekindle.gpu.to_device(_module(1), "cpu", hold=True)
    other = _module(1, width=9)
    before = other[0].weight.clone()
    assert rekindle.gpu.to_device(other, "cpu", hold=True) is other
    assert torch.equal(other[0].weight, before)
    named = rekindle.gpu.to_device(_module(3, width=9), "cpu", hold="other")
    assert named[0].weight.shape == (9, 4)


def test_tied_parameters_are_tied_among_what_is_held(holder: str) -> None:
    for _ in range(2):
        module = torch.nn.Module()
        module.a, module.b = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
        module.b.weight = torch.nn.Parameter(module.a.weight.data.view(3, 3))
        rekindle.gpu.to_device(module, "cpu", hold=True)
        assert module.a.weight.data_ptr() == module.b.weight.data_ptr()


def test_without_a_holder_weights_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rekindle.gpu, "_holder", None)
    monkeypatch.delenv("REKINDLE_GPU_HOLDER", raising=False)
    module = _module(1)
    assert rekindle.gpu.to_device(module, "cpu", hold=True) is module
