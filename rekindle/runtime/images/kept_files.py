"""The copies of local files that programs keep for their images: what they take, and removing them.

A copy is a folder that is named by its content, touched whenever an image is looked at that was
given it. Who keeps them is ``sdk/images/local_files.py``. Knows nothing of layers.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rekindle.linux.disk_use import disk_bytes

#: They cannot be built again, and a deployed app may sleep for long.
_KEPT_S = 90 * 86400.0
#: What a client that was killed left, or who was removing them.
_LEFTOVER_S = 3600.0
_GONE = ".gone-"


@dataclass(frozen=True)
class KeptFiles:
    """A copy, wherever it is kept."""

    name: str  # the digest of what it holds
    places: tuple[Path, ...]
    size_bytes: int
    used_s: float
    title: str = "local files"
    parent: str = ""  # it stands on no layer


def all_in(folders: Iterable[Path]) -> list[KeptFiles]:
    """All copies in some folders."""
    places: dict[str, list[Path]] = {}
    for folder in folders:
        for name in _names(folder):
            places.setdefault(name, []).append(folder / name)
    return [
        KeptFiles(name, tuple(found), sum(map(disk_bytes, found)), max(map(_used_s, found)))
        for name, found in places.items()
    ]


def remove(files: KeptFiles) -> None:
    """Remove a copy: first of all it is none any more."""
    for place in files.places:
        aside = place.with_name(f"{_GONE}{place.name}-{secrets.token_hex(4)}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(place, aside)
        shutil.rmtree(aside, ignore_errors=True)


def remove_old(folder: Path, in_use: Callable[[list[str]], set[str]]) -> None:
    """Remove copies that nothing has used for long, and what killed processes left; ``in_use``:
    those of some names that a runner has."""
    old: list[str] = []
    for name in _names(folder, hidden=True):
        age_s = time.time() - _used_s(folder / name)
        if name.startswith(".") and age_s > _LEFTOVER_S:
            shutil.rmtree(folder / name, ignore_errors=True)
        elif age_s > _KEPT_S:
            old.append(name)
    for name in set(old) - in_use(old):
        remove(KeptFiles(name, (folder / name,), 0, 0.0))


def _names(folder: Path, *, hidden: bool = False) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if hidden or not name.startswith(".")]
    except FileNotFoundError:
        return []


def _used_s(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except OSError:
        return time.time()  # it goes just now
