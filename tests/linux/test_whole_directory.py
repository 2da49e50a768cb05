"""What is there by its name is whole, also after a power cut: on a real disk that is cut off."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.linux.whole_directory import whole_directory
from rekindle.runtime.images import runner_code

pytestmark = [
    pytest.mark.needs_root("to mount a disk"),
    pytest.mark.skipif(
        not os.path.exists("/dev/loop-control"),
        reason="no /dev/loop-control: this container was given no loop devices to mount a disk by",
    ),
    pytest.mark.skipif(
        shutil.which("mkfs.ext4") is None,
        reason="no mkfs.ext4 (e2fsprogs) on this machine to make a disk by",
    ),
]

#: Of ext4: take no more writes. The journal is written first, so names are there, as after a power
#: cut some seconds later; what is in files is not, unless somebody had that written.
_SHUTDOWN, _WITH_THE_JOURNAL = 0x8004587D, struct.pack("I", 1)
_TEXT = "x = 1\n" * 1000


class Disk:
    """An ext4 file system in a file, mounted."""

    def __init__(self, folder: Path) -> None:
        self.root, self._image = folder / "disk", folder / "image"
        self.root.mkdir()
        self._image.touch()
        os.truncate(self._image, 32 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(self._image)], check=True)
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.root)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.root)], check=True)

    def cut_power(self) -> None:
        """And come back."""
        fd = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _WITH_THE_JOURNAL)
        finally:
            os.close(fd)
        self.unmount()
        # Not the same again: where a mount namespace of another process has it still, it would not
        # be read anew.
        self._image = shutil.copyfile(self._image, self._image.with_name("image-after"))
        self.mount()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    made.unmount()


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
