"""Copying files whose holes stay holes: what takes no disk takes none as a copy either. Standard
library only."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rekindle.linux.files import next_data

_AT_ONCE_BYTES = 1 << 24


def copy_content(source: str | Path, target: str | Path) -> None:
    """Write what a file holds to another, which becomes just that. Raises OSError."""
    with open(source, "rb", buffering=0) as read, open(target, "wb", buffering=0) as written:
        size, at = os.fstat(read.fileno()).st_size, 0
        os.ftruncate(written.fileno(), size)
        while at < size and (part := next_data(read.fileno(), at, size)) is not None:
            at, end = part
            os.lseek(written.fileno(), at, os.SEEK_SET)
            while at < end:
                most = min(end - at, _AT_ONCE_BYTES)
                if not (sent := os.sendfile(written.fileno(), read.fileno(), at, most)):
                    os.ftruncate(written.fileno(), at)  # it became shorter meanwhile
                    return
                at += sent
        if not size:  # of a file system that makes its files when they are read
            shutil.copyfileobj(read, written)


def copy(source: str | Path, target: str | Path) -> None:
    """The same with the file's mode, times and attributes; a link is made again."""
    if os.path.islink(source):
        shutil.copy2(source, target, follow_symlinks=False)
        return
    copy_content(source, target)
    shutil.copystat(source, target)
