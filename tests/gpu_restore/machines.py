"""Recorded machines, and NVML as it answers on each.

Written by hand after NVIDIA's descriptions of these machines, in the format of
``python -m rekindle.gpu_restore.record``; none was recorded on the machine itself.
"""

from __future__ import annotations

from pathlib import Path

from rekindle.gpu_restore.inventory import Inventory, look
from rekindle.gpu_restore.placement.devices import Device, Fleet, Node, node_of
from rekindle.gpu_restore.recorded import RecordedNvml, Recording, read

RECORDINGS = Path(__file__).parent / "recordings"
NAMES = sorted(path.stem for path in RECORDINGS.glob("*.json"))


def recording(name: str) -> Recording:
    """A machine; it may be changed."""
    return read(RECORDINGS / f"{name}.json")


def opened(name: str) -> RecordedNvml:
    """NVML of a machine, started."""
    machine = recording(name)
    nvml = RecordedNvml(lambda: machine)
    nvml.nvmlInit()
    return nvml


def inventory(name: str) -> Inventory:
    """What a machine has."""
    return look(opened(name))


def fleet(*names: str) -> Fleet:
    """Several machines; several times the same one, if it is named so often."""
    return Fleet(_numbered(name, i) for i, name in enumerate(names))


def _numbered(name: str, number: int) -> Node:
    machine = recording(name)
    for gpu in machine["gpus"]:
        gpu["uuid"] += f"-{number}"
        for part in gpu.get("mig", []):
            part["uuid"] += f"-{number}"
    nvml = RecordedNvml(lambda: machine)
    nvml.nvmlInit()
    return node_of(look(nvml), f"{name}-{number}")


def indexes(devices: tuple[Device, ...]) -> list[int]:
    """Which GPUs, as nvidia-smi counts them."""
    return [device.index for device in devices]
