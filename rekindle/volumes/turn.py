"""One process's turn at a folder of this machine that is kept the same as a store.

The folder is held by descriptors: one that is renamed meanwhile takes the work along, and another
that is made at its path is not touched. Beside its files lies what was seen at the last time, of
each path: size, modification time, mark in the store. Each change of that is in a file at once, so
a process that is killed has the next one go on where it was; after a power cut, too, if the file of
the path is on the disk before it is noted. A copy of the folder, from a backup, may lack files that
nobody removed: these are forgotten, so that they are brought again. Knows nothing of stores.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rekindle.exception import VolumeError, VolumeFileNotFoundError
from rekindle.linux.files import not_listed_unless_gone
from rekindle.volumes.registry import id_at
from rekindle.volumes.tree import DRAFT, Tree

_STATE, _CHANGES, _LOCK = "sync.json", "sync.changes", "sync.lock"
#: Touched by each pull that went well.
PULLED = "sync.pulled"
#: Begins the key, without an entry, that says which folder was looked at. No path has it.
_FOLDER = "\0"


@dataclass
class Turn:
    """See the module; ``taken`` makes one."""

    #: Descriptors of the directory that all lies in, of the files, and of what is appended to.
    place: int
    files: int
    changes: int
    label: str
    #: Of the volume; "" for a folder that is none.
    id: str
    #: What no copy of the folder has.
    folder: str
    state: dict[str, list[Any]]

    @property
    def tree(self) -> Tree:
        """The files, to work with."""
        return Tree(Path(f"/proc/self/fd/{self.files}"), self.label)

    def note(self, path: str, entry: list[Any] | None) -> None:
        """Keep what was seen of a path; None: it is gone, here and in the store."""
        if entry is None:
            del self.state[path]
        else:
            self.state[path] = entry
        lines = [[path, entry]]
        if not os.fstat(self.changes).st_size:
            lines.insert(0, [_FOLDER + self.folder, None])
        os.write(self.changes, "".join(f"{json.dumps(line)}\n" for line in lines).encode())

    def look(self) -> dict[str, list[int]]:
        """Path -> size and modification time of all plain files, as they are now.

        Raises VolumeFileNotFoundError where the volume was deleted before all were looked at: its
        files were not removed by who uses it.
        """
        found = {}
        # What cannot be listed is not empty: its files would be removed from the store.
        walk = os.fwalk(".", onerror=not_listed_unless_gone, dir_fd=self.files)
        for directory, names, files, fd in walk:
            names[:] = [name for name in names if not name.startswith(DRAFT)]
            for name in files:
                if not name.startswith(DRAFT) and (seen := _seen(name, fd)):
                    found[os.path.normpath(os.path.join(directory, name))] = seen
        if self.id and id_at(self.place) != self.id:
            raise VolumeFileNotFoundError(f"{self.label} was deleted")
        return found

    def seen(self, path: str) -> list[int]:
        """Size and modification time of a plain file now; empty for what is none, or gone."""
        return _seen(path, self.files)

    def pulled(self) -> None:
        """Note that all that the store has is here."""
        os.close(os.open(PULLED, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644, dir_fd=self.place))
        os.utime(PULLED, dir_fd=self.place)

    def forget_missing(self) -> None:
        """Files that are not here were never seen, so none of them was removed."""
        here = self.look()
        self.state = {path: entry for path, entry in self.state.items() if path in here}
        self.save()

    def save(self) -> None:
        """Have all that was noted in one file."""
        with contextlib.suppress(FileNotFoundError):  # the volume was deleted
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            draft = f".{_STATE}"
            with open(os.open(draft, flags, 0o644, dir_fd=self.place), "w") as file:
                json.dump({_FOLDER + self.folder: None, **self.state}, file)
                file.flush()
                os.fsync(file.fileno())
            os.rename(draft, _STATE, src_dir_fd=self.place, dst_dir_fd=self.place)
            os.truncate(self.changes, 0)


class CopyRemovedError(Exception):
    """While one waited for a turn at a copy of a store's folder, it was removed."""


@contextlib.contextmanager
def taken(place: int, files: Path, label: str, volume_id: str) -> Iterator[Turn]:
    """A turn, when it is this process's: at ``files`` in the directory ``place``, a descriptor.

    Raises CopyRemovedError, for a folder that is no volume, where ``place`` does not lie there any
    more; VolumeError where what was seen at the last time cannot be read; OSError.
    """
    with contextlib.ExitStack() as stack:

        def open_here(name: str, flags: int) -> int:
            return os.open(name, flags | os.O_CLOEXEC, 0o644, dir_fd=place)

        def opened(name: str, flags: int) -> int:
            fd = open_here(name, flags)
            stack.callback(os.close, fd)
            return fd

        try:
            # A file, which is closed wherever a signal's exception has it lost: with a descriptor
            # the lock would stay.
            lock = stack.enter_context(open(_LOCK, "ab", buffering=0, opener=open_here))
        except FileNotFoundError:  # the directory was removed
            if volume_id:
                raise
            raise CopyRemovedError from None
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not volume_id and not _lies_at(files.parent, place):
            # Its files are being removed: they are not to be removed from the store, too.
            raise CopyRemovedError
        directory = opened(files.name, os.O_RDONLY | os.O_DIRECTORY)
        changes = opened(_CHANGES, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        noted = _read(place, changes)
        known = {key[1:] for key in noted if key.startswith(_FOLDER)}  # none: by a former rekindle
        state = {path: entry for path, entry in noted.items() if entry is not None}
        folder = _identity(lock.fileno(), changes)
        turn = Turn(place, directory, changes, label, volume_id, folder, state)
        if known - {turn.folder}:
            turn.forget_missing()
        elif os.fstat(changes).st_size:  # of one that was killed; its last line may be cut off
            turn.save()
        try:
            yield turn
        finally:
            if os.fstat(changes).st_size:
                turn.save()


def _lies_at(path: Path, place: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(place))
    return False


def _identity(lock: int, changes: int) -> str:
    """Of a file that is never written to: no copy was made at the same time. And of one that is
    never replaced, but by who puts a copy over what is here and leaves alone what is the same."""
    info = os.fstat(lock)
    return f"{info.st_ino} {info.st_ctime_ns} {os.fstat(changes).st_ino}"


def _read(place: int, changes: int) -> dict[str, list[Any] | None]:
    """What was seen at the last time, and where. Raises VolumeError where that is damaged."""
    state: dict[str, list[Any] | None] = {}
    name = _STATE
    try:
        with (
            contextlib.suppress(FileNotFoundError),
            open(_STATE, opener=lambda path, how: os.open(path, how, dir_fd=place)) as file,
        ):
            state = json.load(file)
        name = _CHANGES
        with open(changes, closefd=False) as file:
            for line in file:
                if line.endswith("\n"):  # else it was cut off
                    path, entry = json.loads(line)
                    state[path] = entry
    except ValueError as error:
        where = os.readlink(f"/proc/self/fd/{place}")
        raise VolumeError(f"{where}/{name} is damaged; remove it: {error}") from error
    return state


def _seen(name: str, directory: int) -> list[int]:
    try:
        info = os.lstat(name, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [info.st_size, info.st_mtime_ns] if stat.S_ISREG(info.st_mode) else []
