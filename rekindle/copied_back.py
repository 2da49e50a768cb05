"""Whether all of a backup has arrived where an instance is to come up from it.

A copy that was cut off would come up with a part of its queue, or with nothing under a new name,
and write on from there. A backup has a note of how much it is; it goes with the first start. Knows
nothing of what is stored.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rekindle import paths
from rekindle.counted import counted
from rekindle.exception import SetupError
from rekindle.linux import files

_NOTE = "backup.json"
_PARTS = ("redis", "blobs")
_NAME = "instance"
#: Where any instance was up.
_PROCESS = "supervisor.pid"
#: Redis without a record has less on disk.
_EMPTY_BYTES = 1024


@dataclass(frozen=True)
class _Size:
    files: int
    bytes: int


def note(draft: Path) -> None:
    """Write down how much a backup is that is done but for this."""
    size = _size(draft)
    (draft / _NOTE).write_text(json.dumps({"files": size.files, "bytes": size.bytes}) + "\n")


def accept(directory: Path, *, own_queue: bool = True) -> None:
    """See that an instance may come up there; what it was copied from is forgotten then.

    ``own_queue``: its queue is to be there, and in no Redis elsewhere. Raises SetupError where a
    part is missing, OSError.
    """
    for inside in directory.glob(f"*/{_NOTE}"):
        raise SetupError(
            f"{inside.parent} is a backup inside of an instance. To come back to it, move "
            f"{directory} away and copy the backup in its place; to go on without it, move it "
            f"elsewhere"
        )
    try:
        noted = (directory / _NOTE).read_text()
    except FileNotFoundError:
        if own_queue:
            _refuse_without_note(directory)
        return
    try:
        found = json.loads(noted)
        whole, here = _Size(found["files"], found["bytes"]), _size(directory)
    except (ValueError, LookupError, TypeError):
        raise _cut_off(directory, f"{_NOTE} is not whole") from None
    if here == whole:
        paths.taken_down_file(directory).touch()  # no program of before comes back to it
        (directory / _NOTE).unlink(missing_ok=True)
        return
    if not (directory / _NOTE).exists():  # another start has accepted it, and goes on
        return
    if here.files < whole.files or (here.files == whole.files and here.bytes < whole.bytes):
        missing = f"{here.files:,} of {counted(whole.files, 'file')}"
        raise _cut_off(directory, f"it has {missing}, {here.bytes:,} of {whole.bytes:,} bytes")
    raise SetupError(
        f"{directory} has a backup and files of another instance, or of another backup: move it "
        f"away, and copy the backup into its place again"
    )


def _refuse_without_note(directory: Path) -> None:
    was_up = any(one.exists() for one in (directory / _PROCESS, paths.token_file(directory)))
    # Backups of a former rekindle have no note, and this file.
    if not was_up and not paths.taken_down_file(directory).exists() and _size(directory).files:
        is_whole = shlex.quote(str(paths.taken_down_file(directory)))
        raise SetupError(
            f"{_cut_off(directory, f'{_NOTE} is missing')}. Where these are files of an instance "
            f"that was down, and no backup, `touch {is_whole}` says that they are whole"
        )
    if sum(_sizes(directory / "redis")) > _EMPTY_BYTES and not (directory / _NAME).exists():
        raise SetupError(
            f"{directory} has a queue, and no file '{_NAME}' with the name under which it is found "
            f"there: put that back from a backup"
        )


def _cut_off(directory: Path, why: str) -> SetupError:
    return SetupError(
        f"not all of a backup is in {directory}: {why}. Copy it there again, from the beginning"
    )


def _size(directory: Path) -> _Size:
    found = [size for part in _PARTS for size in _sizes(directory / part)]
    with contextlib.suppress(FileNotFoundError):
        found.append((directory / _NAME).stat().st_size)
    return _Size(len(found), sum(found))


def _sizes(place: Path) -> Iterator[int]:
    """Of files; without those that go meanwhile, as another start has been quicker."""
    for folder, _, names in os.walk(place, onerror=files.not_listed_unless_gone):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield Path(folder, name).stat().st_size
