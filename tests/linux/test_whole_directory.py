"""What is there by its name is whole, also after a power cut: on a real disk that is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.linux.whole_directory import whole_directory
from rekindle.runtime.images import runner_code
from tests import power_cut
from tests.power_cut import Disk

pytestmark = power_cut.MARKS

_TEXT = "x = 1\n" * 1000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with power_cut.mounted(tmp_path) as made:
        yield made


def _fill(target: Path, *, durable: bool) -> None:
    with whole_directory(target, durable=durable) as draft:
        (draft / "package").mkdir()
        (draft / "package" / "module.py").write_text(_TEXT)
        (draft / "link").symlink_to("package/module.py")


def test_what_has_its_name_is_whole_after_a_power_cut(disk: Disk) -> None:
    _fill(disk.root / "kept", durable=True)
    _fill(disk.root / "looked-at", durable=False)
    disk.cut_power()
    assert (disk.root / "kept" / "link").read_text() == _TEXT
    assert (disk.root / "looked-at" / "link").read_text() == ""  # so it was a power cut


def test_the_code_of_runners_is_whole_after_a_power_cut_and_what_was_compiled_of_it(
    disk: Disk,
) -> None:
    code = runner_code.provide(disk.root)
    compiled = code / "rekindle" / "compiled.pyc"
    compiled.write_text(_TEXT)
    runner_code.was_compiled(code, "3.13")
    disk.cut_power()
    assert runner_code.provide(disk.root) == code and runner_code.is_compiled(code, "3.13")
    assert compiled.read_text() == _TEXT
    for name, path in runner_code._files():
        assert (code / name).read_bytes() == path.read_bytes()
