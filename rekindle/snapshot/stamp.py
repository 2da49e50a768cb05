"""The mark of a full verification: these very files, unchanged since, had the right content.

Reading gigabytes at each restore to check them would undo what a snapshot is for. The stamp holds
boot, inode, size and both times of each file; whatever writes to a file changes its ctime.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from rekindle.snapshot import files, machine

log = logging.getLogger(__name__)

NAME = "verified.json"


def write(directory: Path, paths: Iterable[str]) -> None:
    """Record that files of a snapshot are right as they are now. Raises OSError.

    ``paths`` are relative to its ``directory``. No name may be added to a file afterwards, or taken
    away: that, too, changes its ctime.
    """
    files.write_durably(
        directory / NAME,
        json.dumps({"boot": machine.boot_id(), "files": _identities(directory, paths)}),
    )


def holds(directory: Path, paths: Iterable[str]) -> bool:
    """Whether a stamp of this boot covers the files as they are now. Raises OSError."""
    try:
        stamp = json.loads((directory / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        log.warning("verification stamp unreadable path=%s: %s", directory, error)
        return False
    if not isinstance(stamp, dict) or not stamp.get("boot"):
        return False
    return stamp["boot"] == machine.boot_id() and stamp.get("files") == _identities(
        directory, paths
    )


def _identities(directory: Path, paths: Iterable[str]) -> dict[str, list[int]]:
    found = {}
    for path in sorted(paths):
        info = os.stat(directory / path)
        found[path] = [info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns]
    return found
