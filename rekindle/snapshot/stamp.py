"""The mark of a full verification: these very files, unchanged since, had the right content.

Reading gigabytes at each restore to check them would undo what a snapshot is for. The stamp holds
boot, inode, size and both times of each file; whatever writes to a file changes its ctime.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.linux.files import named
from rekindle.snapshot import files, machine
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

NAME = "verified.json"


Look = dict[str, list[int]]
"""Files of a snapshot as they are at one moment, by path."""


@dataclass(frozen=True)
class Stamp:
    """What is known of a snapshot's files; one that says nothing where there is none."""

    boot: str = ""
    verified: float = 0.0  # when all were read last, in seconds of CLOCK_REALTIME
    files: Look = field(default_factory=dict)
    bad: str = ""  # what was wrong with their content then

    def covers(self, looked: Look) -> bool:
        """Whether the files are those that were right, and of this boot."""
        return (
            not self.bad
            and bool(self.boot)
            and self.boot == machine.boot_id()
            and self.files == looked
        )


def look(directory: Path, paths: Iterable[str]) -> Look:
    """The present state of files, given by their paths in a snapshot's directory. Raises OSError.

    To be taken before the files are read.
    """
    found = {}
    for path in sorted(paths):
        info = os.stat(directory / path)
        found[path] = [info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns]
    return found


def write(directory: Path, looked: Look, *, verified: float | None = None, bad: str = "") -> None:
    """Record that the files had the right content as they were looked at, or what was wrong.

    A name that is added to a file afterwards, or taken away, changes its ctime, too: see
    ``unbroken``. Raises OSError.
    """
    when = time.time() if verified is None else verified
    stamp = Stamp(machine.boot_id(), when, looked, bad)
    files.write_durably(directory / NAME, json.dumps(dataclasses.asdict(stamp)))


def read(directory: Path) -> Stamp:
    """The stamp of a snapshot."""
    try:
        return Stamp(**files.recall(directory / NAME))
    except TypeError as error:
        log.warning("stamp unreadable", extra=kv(path=directory, reason=error))
        return Stamp()


def holders(root: Path, inodes: set[int]) -> list[Path]:
    """Snapshots of a store whose stamps cover any of these files. Raises OSError."""
    return [
        directory
        for directory in named(root, "sn-*")
        if any(identity[0] in inodes for identity in read(directory).files.values())
    ]


@contextlib.contextmanager
def unbroken(directories: Iterable[Path]) -> Iterator[None]:
    """Keep the stamps of snapshots whose files get or lose a name in the block.

    For the store, under its lock.
    """
    current = []
    for directory in directories:
        stamp = read(directory)
        try:
            if stamp.covers(look(directory, stamp.files)):
                current.append((directory, stamp))
        except OSError as error:
            log.info("stamp not kept", extra=kv(path=directory, reason=error))
    yield
    for directory, stamp in current:
        write(directory, look(directory, stamp.files), verified=stamp.verified)
