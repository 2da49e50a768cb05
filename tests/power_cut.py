"""A real disk whose power is cut: what was not written to it is lost."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

#: For tests that have such a disk.
MARKS = [
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


def needed(test: Callable[..., None]) -> Callable[..., None]:
    """The same for one test among others."""
    for mark in MARKS:
        test = mark(test)
    return test


#: Of ext4: take no more writes.
_SHUTDOWN = 0x8004587D
_WITH_THE_JOURNAL, _AT_ONCE = struct.pack("I", 1), struct.pack("I", 2)


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

    def fill(self) -> Path:
        """Leave no room on it; what takes all of it, to be removed."""
        filler = self.root / "full"
        with pytest.raises(OSError, match="No space"), filler.open("wb", 0) as file:
            while file.write(bytes(1 << 12)):
                pass
        return filler

    def cut_power(self, *, at_once: bool = False) -> None:
        """And come back. The journal is written first, so names are there, as some seconds later;
        what is in files is not, unless somebody had that written. ``at_once``: nor are names."""
        fd = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _AT_ONCE if at_once else _WITH_THE_JOURNAL)
        finally:
            os.close(fd)
        self.unmount()
        # Not the same again: where a mount namespace of another process has it still, it would not
        # be read anew.
        self._image = shutil.copyfile(self._image, self._image.with_name("image-after"))
        self.mount()


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """One for a test; it has two files in the folder."""
    made = Disk(folder)
    try:
        yield made
    finally:
        made.unmount()
