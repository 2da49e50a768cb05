"""Directories that are named by their content, in one folder: those that nobody uses go in the end.

A directory's own time says when it was used last. Who has one for longer says so again and again,
far more often than it takes until it would go. Knows nothing of what they hold.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from rekindle.linux.disk_use import disk_bytes

#: What nobody has used for so long goes: it can be made again.
KEPT_S = 30 * 86400.0
#: What was used so lately may be in use, though this process does not know by whom.
_LATELY_S = 3 * 3600.0
#: What a process that was killed left half made, or half removed.
_LEFTOVER_S = 86400.0


def use(directory: Path) -> bool:
    """Note that it is used now; False where it is not there. Raises OSError."""
    if not directory.is_dir():
        return False
    try:
        os.utime(directory)
    except FileNotFoundError:
        return False
    return True


def remove_unused(folder: Path, used: Iterable[Path], most_bytes: int | None = None) -> list[str]:
    """Remove what is older, and not among ``used``, which counts as used now; the names of those
    that went. Of the others the least recently used go, too, until they have ``most_bytes`` of the
    disk. Raises OSError."""
    for directory in used:
        use(directory)
    gone = []
    for name in _names(folder):
        place = folder / name
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            if name.startswith("."):
                if _age_s(place) > _LEFTOVER_S:
                    shutil.rmtree(place, ignore_errors=True)
            elif place.is_dir() and _age_s(place) > KEPT_S and _remove(place, KEPT_S):
                gone.append(name)
    return gone if most_bytes is None else [*gone, *_remove_over(folder, most_bytes)]


def _remove_over(folder: Path, most_bytes: int) -> list[str]:
    found = []
    for name in _names(folder):
        with contextlib.suppress(FileNotFoundError):
            if not name.startswith(".") and (folder / name).is_dir():
                found.append((_age_s(folder / name), name, disk_bytes(folder / name)))
    over, gone = sum(size for _, _, size in found) - most_bytes, []
    for age_s, name, size in sorted(found, reverse=True):
        if over <= 0 or age_s <= _LATELY_S:
            break
        with contextlib.suppress(FileNotFoundError):
            if _remove(folder / name, _LATELY_S):
                over -= size
                gone.append(name)
    return gone


def _remove(place: Path, after_s: float) -> bool:
    """False where somebody was using it just then."""
    for name in os.listdir(place.parent):
        if name.startswith(f"{place.name}."):  # what is noted of it, beside it
            (place.parent / name).unlink(missing_ok=True)
    aside = place.with_name(f".gone-{place.name}-{secrets.token_hex(4)}")
    os.rename(place, aside)
    if _age_s(aside) <= after_s:
        try:
            os.rename(aside, place)
            return False
        except OSError:
            if not place.is_dir():  # else it was made again
                raise
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _age_s(place: Path) -> float:
    return time.time() - place.lstat().st_mtime


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
