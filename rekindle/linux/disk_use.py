"""What the files of a directory take of the disk: each once, by however many names it is there."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Inode:
    """A file in a tree, by whatever names."""

    disk_bytes: int  # holes take none
    names_here: int
    names: int


def inodes(directory: Path) -> dict[int, Inode]:
    """The files in a tree by inode number; what vanishes or cannot be seen is left out."""
    found: dict[int, Inode] = {}
    for place, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                info = os.lstat(os.path.join(place, name))
                before = found.get(info.st_ino)
                here = before.names_here if before else 0
                found[info.st_ino] = Inode(info.st_blocks * 512, here + 1, info.st_nlink)
    return found


def disk_bytes(directory: Path) -> int:
    """What all files in a tree take of the disk."""
    return sum(one.disk_bytes for one in inodes(directory).values())
