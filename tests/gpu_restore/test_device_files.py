"""Which device files a runner must not open, by what lies in /dev and /proc."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from rekindle.gpu_restore.device_files import to_hide
from tests import exhausted
from tests.gpu_restore import machines

#: The instances of the recorded machine's first GPU, as its driver would name their files.
_MINORS = "gpu0/gi7/access 30\ngpu0/gi7/ci0/access 31\nconfig 1\n"


def of_machine(root: Path) -> Path:
    """What a driver with MIG has there."""
    (root / "proc/driver/nvidia-caps").mkdir(parents=True)
    (root / "proc/driver/nvidia-caps/mig-minors").write_text(_MINORS)
    (root / "dev/nvidia-caps").mkdir(parents=True)
    for name in ("nvidia0", "nvidia-caps/nvidia-cap1", "nvidia-caps/nvidia-cap30"):
        (root / "dev" / name).touch()
    return root


def test_instances_of_others_are_hidden(tmp_path: Path) -> None:
    hidden = to_hide(machines.inventory("two_a100_mig"), [], of_machine(tmp_path))
    dev = tmp_path / "dev"
    assert hidden == [str(dev / "nvidia0"), str(dev / "nvidia-caps/nvidia-cap30")]


def test_a_driver_without_mig_has_none(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    assert to_hide(machines.inventory("two_a100_mig"), [], tmp_path) == []


def test_that_it_cannot_be_told_just_now_is_not_taken_for_none(tmp_path: Path) -> None:
    found, root = machines.inventory("two_a100_mig"), of_machine(tmp_path)
    with exhausted.descriptors(0), pytest.raises(OSError) as raised:
        to_hide(found, [], root)
    assert raised.value.errno == errno.EMFILE
