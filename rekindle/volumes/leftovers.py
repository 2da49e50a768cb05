"""Removes what killed processes left among volumes, and copies of stores' folders in no use.

Nothing goes that a store has not got. Who uses a copy is asked of the caller. Ages are those that
nobody sets: a folder that is being removed has just got its name.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

from rekindle.exception import VolumeError
from rekindle.linux.files import opened_directory
from rekindle.volumes.registry import FOLDER_DRAFT, folder_draft
from rekindle.volumes.remote import COPIES
from rekindle.volumes.tree import DRAFT
from rekindle.volumes.turn import PULLED, CopyRemovedError, taken

log = logging.getLogger(__name__)

#: What is half made is not gone on with after so long, however large it is.
_LEFTOVER_S = 7 * 86400.0
#: A copy that nobody has used for so long goes: the store has it.
_KEPT_S = 30 * 86400.0
#: All files of all volumes are looked at so often, by one process.
_EVERY_S = 86400.0
#: Between two folders: whoever looks may have threads that others wait for.
_PAUSE_S = 0.001
_LOOKED = ".looked-through"
_DRAFT = re.compile(rf"{re.escape(DRAFT)}[0-9a-f]{{16}}")


def remove_leftovers(root: Path, in_use: Callable[[list[str]], set[str]]) -> int:
    """Look through the volumes below ``root``, unless somebody did today; how much went.

    ``in_use``: which of some folders, by their names, processes have. Raises OSError.
    """
    looked = root / _LOOKED
    if not root.is_dir() or (looked.exists() and _age_s(looked.lstat()) < _EVERY_S):
        return 0
    looked.touch()
    count = 0
    for place in root.glob(f"{FOLDER_DRAFT}*"):
        with contextlib.suppress(FileNotFoundError):
            if _age_s(place.lstat()) > _LEFTOVER_S:
                shutil.rmtree(place, ignore_errors=True)
                count += 1
    count += sum(map(_remove_drafts, root.glob("*/*/files")))
    unused = {place.name: place for place in root.glob(f"{COPIES}/*") if _is_unused(place)}
    for name in set(unused) - in_use(list(unused)):
        try:
            count += _remove_copy(unused[name], root)
        except VolumeError as error:
            log.warning("a copy of a store's folder stays: %s", error)
    return count


def _remove_drafts(files: Path) -> int:
    """What is half written in a volume. Runners may change it meanwhile: no link is followed."""
    count = 0
    for _, names, found, directory in os.fwalk(files, follow_symlinks=False):
        time.sleep(_PAUSE_S)
        for name in filter(_DRAFT.fullmatch, [*names, *found]):
            with contextlib.suppress(FileNotFoundError):
                info = os.lstat(name, dir_fd=directory)
                if not stat.S_ISDIR(info.st_mode):
                    if _age_s(info) > _LEFTOVER_S:
                        os.unlink(name, dir_fd=directory)
                        count += 1
                elif min([_age_s(info), *_ages_s(name, directory)]) > _LEFTOVER_S:
                    shutil.rmtree(name, ignore_errors=True, dir_fd=directory)
                    count += 1
        names[:] = [name for name in names if not name.startswith(DRAFT)]
    return count


def _ages_s(name: str, directory: int) -> list[float]:
    """The ages of what is in a folder of an upload."""
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    try:
        return [_age_s(os.lstat(one, dir_fd=fd)) for one in os.listdir(fd)]
    finally:
        os.close(fd)


def _is_unused(place: Path) -> bool:
    """Whether it was neither brought nor sent for long."""
    ages = []
    for one in (place, place / PULLED):
        with contextlib.suppress(FileNotFoundError):
            ages.append(_age_s(one.lstat()))
    return min(ages, default=0.0) > _KEPT_S


def _remove_copy(place: Path, root: Path) -> bool:
    """False where it has what the store has not, or where somebody began to use or removed it."""
    try:
        with opened_directory(place) as fd, taken(fd, place / "files", str(place), "") as turn:
            here = turn.look()
            sent = {path: entry[:2] for path, entry in turn.state.items()}
            if here != sent or not _is_unused(place):
                return False
            # Within the turn: who waits for the next one sees that this is not the copy any more.
            aside = folder_draft(root)
            os.rename(place, aside)
    except (CopyRemovedError, FileNotFoundError):
        return False
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _age_s(info: os.stat_result) -> float:
    return time.time() - info.st_ctime
