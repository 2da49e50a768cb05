"""A module's parameters held: no copy the second time, others told apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import rekindle
from rekindle.exception import GpuError
from rekindle.gpu_restore import held_weights, marks, weights
from rekindle.gpu_restore.device import Device, Shared
from rekindle.gpu_restore.holding.client import Connection
from rekindle.gpu_restore.host_device import HostDevice
from tests import optional

pytestmark = optional.needs("torch")
torch = optional.module("torch")


@pytest.fixture
def holder(serve: Callable[[Device], str], monkeypatch: pytest.MonkeyPatch) -> str:
    """One in a thread, and the environment of a runner that has it."""
    path = serve(HostDevice())
    monkeypatch.setenv("REKINDLE_GPU_HOLDER", path)
    monkeypatch.setenv("REKINDLE_GPU_REVISION", "r1")
    monkeypatch.setattr(rekindle.gpu, "_holder", None)
    monkeypatch.setattr(rekindle.gpu, "_transfers", [])
    return path


def _module(seed: int, width: int = 8) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.BatchNorm1d(width))


def test_the_second_runner_copies_no_parameter(
    holder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _module(1), _module(2)
    rekindle.gpu.to_device(first, "cpu", hold=True)
    _of_the_first = rekindle.gpu._holder
    monkeypatch.setattr(rekindle.gpu, "_holder", None)
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


def test_a_runner_that_fails_to_bring_them_has_its_own_copy_and_others_do_not_wait_for_it(
    holder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_arguments: Any, **_more: Any) -> None:
        raise GpuError("a device that fails")

    module, other = _module(1), Connection.to(holder, HostDevice())
    with monkeypatch.context() as broken:
        broken.setattr(held_weights, "transfer", fails)
        assert rekindle.gpu.to_device(module, "cpu", hold=True) is module
    assert other.status()["entries"] == []
    rekindle.gpu.to_device(_module(2), "cpu", hold=True)
    (entry,) = other.status()["entries"]
    assert entry["state"] == "held"
    other.close()


def test_what_is_no_module_is_copied_and_leaves_the_name_to_others(holder: str) -> None:
    two = {"a": _module(1), "b": torch.zeros(3)}
    with marks.within([], None):
        moved = rekindle.gpu.to_device(two, "cpu", hold=True)
    assert moved["a"] is two["a"] and moved["b"] is not two["b"]
    (note, _rate) = marks.take_notes()
    assert "one module, not of a dict" in note
    other = Connection.to(holder, HostDevice())
    assert other.want("r1/") is None  # to be brought by this one, and by nobody before it
    other.close()


def test_weights_of_another_module_are_not_counted_as_used(holder: str) -> None:
    loader, other = Connection.to(holder, HostDevice()), _module(1, width=9)
    held_weights.move(_module(1), "r1/", weights.target("cpu"), loader)
    rekindle.gpu.to_device(other, "cpu", hold=True)
    (entry,) = loader.status()["entries"]
    assert entry["users"] == 1  # the loader
    loader.close()


def test_one_that_has_them_keeps_them_when_another_module_of_its_own_does_not_fit(
    holder: str,
) -> None:
    first, again, other = _module(1), _module(2), _module(1, width=9)
    before = first[0].weight.clone()
    for module in (first, again, other):
        rekindle.gpu.to_device(module, "cpu", hold=True)
    assert torch.equal(first[0].weight, before)
    assert again[0].weight.data_ptr() == first[0].weight.data_ptr()
    asking = Connection.to(holder, HostDevice())
    assert asking.status()["entries"][0]["users"] == 1
    asking.close()


def test_what_cannot_be_opened_leaves_the_connection_of_use(
    holder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_shared: Shared) -> int:
        raise GpuError("out of addresses")

    device = HostDevice()
    one = Connection.to(holder, device)
    assert one.want("m") is None
    with monkeypatch.context() as broken:
        broken.setattr(device, "open", fails)
        with pytest.raises(GpuError, match="out of addresses"):
            one.allocate("m", [100, 200, 300])
    assert one.status()["held_bytes"] == 600
    one.release("m")
    assert one.status()["held_bytes"] == 0
    one.close()


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
