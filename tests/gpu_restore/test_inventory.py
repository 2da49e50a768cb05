"""The GPU inventory: what NVML says, or why it says nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from rekindle.gpu_restore import driver
from rekindle.gpu_restore import inventory as room
from rekindle.gpu_restore.driver import RECORDING, NvmlAbsentError
from rekindle.gpu_restore.links import Level
from rekindle.gpu_restore.record import record
from rekindle.gpu_restore.recorded import RecordedError, RecordedNvml
from rekindle.gpu_restore.usage import Watch
from tests import exhausted
from tests.gpu_restore import machines


def _fails(*names: str, value: int) -> RecordedNvml:
    """NVML of a machine on which some functions fail."""

    def fail(*_arguments: object) -> None:
        raise RecordedError(value)

    nvml = RecordedNvml(lambda: machines.recording("one_t4"))
    for name in names:
        setattr(nvml, name, fail)
    return nvml


def _none() -> RecordedNvml:
    return RecordedNvml(lambda: {"driver": "570.1", "cuda": 12080, "gpus": [], "levels": []})


def _with(monkeypatch: pytest.MonkeyPatch, nvml: RecordedNvml | None) -> room.Inventory:
    module: ModuleType | None = None  # cannot be imported
    if nvml is not None:
        module = ModuleType("pynvml")
        names = [name for name in dir(nvml) if name.lower().startswith("nvml")]
        module.__dict__.update({name: getattr(nvml, name) for name in names})
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return room.inventory()


def test_gpus_are_listed_with_driver_and_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _with(monkeypatch, RecordedNvml(lambda: machines.recording("two_rtx_4090")))
    first, second = found.gpus
    assert (first.model, first.index, second.index) == ("RTX-4090", 0, 1)
    assert first.memory_bytes == 24564 << 20
    assert first.compute_capability == (8, 9)
    assert (first.minor, first.bus_id, first.numa_node) == (0, "0000:10:00.0", 0)
    assert (found.driver, found.cuda, found.reason) == ("570.124.06", "12.8", "")


def test_nvml_is_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = RecordedNvml(lambda: machines.recording("one_t4"))
    _with(monkeypatch, nvml)
    with pytest.raises(RecordedError):
        nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(0))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: None, "pynvml is not installed"),
        (lambda: _fails("nvmlInit", value=12), "no NVIDIA driver library"),
        (lambda: _fails("nvmlInit", value=9), "driver is not loaded"),
        (lambda: _fails("nvmlInit", value=999), "NVML cannot be started: NVML error 999"),
        (_none, "sees no GPU"),
        (lambda: _fails("nvmlDeviceGetMemoryInfo", value=15), "cannot be asked: NVML error 15"),
        (lambda: _fails("nvmlDeviceGetCount", value=999), "NVML fails: NVML error 999"),
    ],
)
def test_where_there_are_none_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], RecordedNvml | None], reason: str
) -> None:
    found = _with(monkeypatch, make())
    assert found.gpus == ()
    assert reason in found.reason


def test_without_a_driver_pynvml_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pynvml")
    monkeypatch.delitem(sys.modules, "pynvml")
    monkeypatch.setattr(driver, "_has_library", lambda: False)
    assert "no NVIDIA driver library" in room.inventory().reason
    assert "pynvml" not in sys.modules


@pytest.mark.parametrize("loaded", [False, True])
def test_where_the_driver_cannot_be_looked_for_now_none_is_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, loaded: bool
) -> None:
    if loaded:
        found = _fails("nvmlInit", value=12)
    else:
        pytest.importorskip("pynvml")
        monkeypatch.delitem(sys.modules, "pynvml")
    with exhausted.descriptors(0):
        inventory = _with(monkeypatch, found) if loaded else room.inventory()
    assert "Too many open files" in inventory.reason
    assert inventory.passes


def test_what_a_device_cannot_be_asked_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    optional = ("MinorNumber", "MemoryAffinity", "MigMode", "NvLinkState", "PciInfo")
    nvml = _fails(*(f"nvmlDeviceGet{name}" for name in optional), value=3)
    (gpu,) = _with(monkeypatch, nvml).gpus
    assert (gpu.minor, gpu.numa_node, gpu.is_mig, gpu.bus_id) == (None, None, False, "")


def test_a_gpu_in_mig_mode_lists_its_instances() -> None:
    first, second = machines.inventory("two_a100_mig").gpus
    assert [one.profile for one in first.instances] == ["3g.20gb", "2g.10gb", "1g.5gb", "1g.5gb"]
    assert first.instances[0].memory_bytes == 19968 << 20
    assert first.instances[0].uuid.startswith("MIG-")
    assert (first.is_mig, second.is_mig, second.instances) == (True, False, ())


@pytest.mark.parametrize(
    ("machine", "pair", "link"),
    [
        ("eight_h100_nvswitch", (0, 7), "NV18"),
        ("four_a100_nvlink", (0, 3), "NV4"),
        ("eight_v100_mesh", (0, 3), "NV2"),
        ("eight_v100_mesh", (0, 1), "NV1"),
        ("eight_v100_mesh", (0, 5), "system"),
        ("eight_l4", (0, 1), "switch"),
        ("eight_l4", (0, 2), "node"),
        ("two_rtx_4090", (0, 1), "bridge"),
    ],
)
def test_pairs_are_linked_as_the_machine_has_it(
    machine: str, pair: tuple[int, int], link: str
) -> None:
    found = machines.inventory(machine)
    one, other = (found.gpus[i].uuid for i in pair)
    assert str(found.links[min(one, other), max(one, other)]) == link


def test_levels_are_in_the_order_of_their_distance() -> None:
    assert sorted(Level) == [
        *(Level.NVLINK, Level.BOARD, Level.SWITCH, Level.SWITCHES),
        *(Level.BRIDGE, Level.NODE, Level.SYSTEM),
    ]


@pytest.mark.parametrize("machine", machines.NAMES)
def test_what_is_recorded_of_a_machine_plays_as_that_machine(machine: str) -> None:
    nvml = machines.opened(machine)
    recorded = record(nvml)
    again = RecordedNvml(lambda: recorded)
    again.nvmlInit()
    assert room.look(again) == room.look(nvml)


def test_a_gpu_that_is_lost_takes_none_of_the_others_along() -> None:
    machine = machines.recording("four_a10g")
    machine["gpus"][1]["lost"] = True
    nvml = RecordedNvml(lambda: machine)
    nvml.nvmlInit()
    found = room.look(nvml)
    assert [gpu.index for gpu in found.gpus] == [0, 2, 3] and not found.reason
    assert found.lost == ("GPU 1 cannot be asked: NVML error 15",)
    assert len(found.links) == 3
    assert set(Watch(nvml).look().devices) == {gpu.uuid for gpu in found.gpus}


@pytest.mark.parametrize("name", ["one_t4", "two_rtx_4090"])
def test_gpus_are_of_use_where_nvml_fails_to_say_how_they_are_linked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_self: RecordedNvml, _device: object, _link: int) -> int:
        raise RecordedError(999)  # NVML_ERROR_UNKNOWN

    monkeypatch.setattr(RecordedNvml, "nvmlDeviceGetNvLinkState", fails)
    found = machines.inventory(name)
    assert len(found.gpus) == len(machines.recording(name)["gpus"]) and not found.reason
    assert not found.links


def test_a_machine_whose_only_gpu_is_lost_has_none_and_says_why() -> None:
    machine = machines.recording("one_t4")
    machine["gpus"][0]["lost"] = True
    nvml = RecordedNvml(lambda: machine)
    nvml.nvmlInit()
    found = room.look(nvml)
    assert not found.gpus and found.reason == "GPU 0 cannot be asked: NVML error 15"
    with pytest.raises(NvmlAbsentError, match="GPU 0 cannot be asked"):
        record(nvml)


# ---- what may be used ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("0,2", [0, 2]),
        ("2,0", [0, 2]),
        ("", []),
        ("1,9,2", [1]),  # as CUDA has it: nothing after one that there is not
        ("-1", []),
    ],
)
def test_only_what_the_agents_own_environment_leaves_is_handed_out(
    said: str, left: list[int]
) -> None:
    found = room.allowed(machines.inventory("four_a10g"), {"CUDA_VISIBLE_DEVICES": said})
    assert [gpu.index for gpu in found.gpus] == left
    assert bool(found.reason) != bool(left)


def test_all_are_handed_out_where_nothing_is_said() -> None:
    found = machines.inventory("four_a10g")
    assert room.allowed(found, {}) is found


def test_devices_and_instances_are_named_by_uuid() -> None:
    found = machines.inventory("two_a100_mig")
    part = found.gpus[0].instances[1].uuid
    whole = found.gpus[1].uuid
    left = room.allowed(found, {"CUDA_VISIBLE_DEVICES": f"{whole[:-3]},{part}"})
    assert [len(gpu.instances) for gpu in left.gpus] == [1, 0]
    assert left.gpus[0].instances[0].uuid == part


# ---- recordings ----------------------------------------------------------------------------


def test_a_recording_is_played_in_place_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RECORDING, str(machines.RECORDINGS / "four_a10g.json"))
    assert [gpu.model for gpu in room.inventory().gpus] == ["A10G"] * 4


@pytest.mark.parametrize(
    "content",
    [None, "{", json.dumps([1]), json.dumps({"driver": "1", "cuda": 12080, "gpus": [{}]})],
)
def test_a_recording_that_cannot_be_played_is_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "machine.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv(RECORDING, str(path))
    assert str(path) in room.inventory().reason


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
