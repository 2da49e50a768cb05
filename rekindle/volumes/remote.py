"""A folder of this machine that is a volume, and the folder of a store that it is kept the same as.

Without a URL the folder is all there is: who writes to it writes to the volume. With one (fsspec:
``s3://``, ``gs://``, another directory), it is this machine's copy: ``pull`` brings what changed in
the store, ``push`` sends what changed here. Files are compared by what was seen at the last time.
The last push of a file wins; what was changed here and not pushed is never overwritten by a pull.
Links and empty directories do not travel, nor do objects that are no files (store_folder.py). A
store that is a directory and has nothing in it is not taken to be empty, unless a push says so: it
may be one that is not mounted.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.counted import counted
from rekindle.exception import (
    InvalidError,
    NotFoundError,
    SetupError,
    VolumeError,
    VolumeFileNotFoundError,
)
from rekindle.linux.libc import check, libc
from rekindle.shown_url import reason, without_password
from rekindle.volumes.arriving import Arriving
from rekindle.volumes.registry import TAKEN, Registry, VolumeRecord, folder_draft, id_at
from rekindle.volumes.store_folder import (
    EMPTIED,
    StoreFolder,
    UnfitError,
    folders_of,
    is_in_the_way,
    opened,
)
from rekindle.volumes.tree import Tree
from rekindle.volumes.turn import PULLED, CopyRemovedError, Turn, taken
from rekindle.wire.usercode import came_by_signal

#: A start does not look again at a store that was looked at so recently.
FRESH_S = 1.0
#: So many files are named by an error.
_NAMED = 5
#: Beside the environments: this machine's copies of stores' folders that are no volumes.
COPIES = ".urls"


@dataclass(frozen=True)
class Folder:
    """See the module."""

    files: Path
    label: str
    url: str = ""
    #: For the store's client (an endpoint, say).
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    #: Of the volume, which is found by it where it was renamed; "" for a folder that is none.
    id: str = ""

    @property
    def tree(self) -> Tree:
        """Its files, to work with."""
        return Tree(self.files, self.label)

    def commit(self) -> None:
        """Have what was written stay, on the disk and in the store. Raises VolumeError."""
        if self.url:
            self.push()
            return
        fd = os.open(self.files, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._write_out(fd)
        finally:
            os.close(fd)

    def _write_out(self, directory: int) -> None:
        try:
            check(libc.syncfs(ctypes.c_int(directory)), f"sync {self.files}")
        except OSError as error:
            if came_by_signal(error):
                raise
            raise VolumeError(f"{self.label} cannot be written to disk: {error}") from error

    def pull_if_old(self) -> None:
        """``pull``, unless somebody did a moment ago."""
        if not self._is_fresh():
            self._pull(if_old=True)

    def pull(self) -> None:
        """Bring what changed in the store since it was looked at last. Raises VolumeError."""
        self._pull(if_old=False)

    def _pull(self, *, if_old: bool) -> None:
        if not self.url:
            return
        with self._explained(), self._turn() as turn:
            if if_old and self._is_fresh():
                return  # somebody did while this one waited for its turn
            store = self._store()
            remote = store.listed()
            if not remote and turn.state and (remote is None or store.is_bare()):
                raise self._bare(turn)
            remote = remote or {}
            local = turn.look()
            # First, as what was a file may be a folder by now.
            for path in [path for path in turn.state if path not in remote]:
                if local.get(path) == turn.state[path][:2] == turn.seen(path):
                    turn.tree.remove(path)
                    del local[path]
                turn.note(path, None)  # where it was changed here, it is sent again as a new one
            folders = {above for path in local for above in folders_of(path)}
            arriving = Arriving(turn)
            try:
                for path, mark in remote.items():
                    known = turn.state.get(path)
                    changed_here = local.get(path) != (known[:2] if known else None)
                    if changed_here or (known and known[2] == mark):
                        continue
                    if is_in_the_way(path, local, folders):
                        continue  # what was changed here is in its place
                    with store.open(path) as source:
                        arriving.write(path, source, local.get(path, []), mark)
            finally:
                arriving.place()  # also those before one that cannot be brought
            turn.pulled()

    def push(self) -> None:
        """Send what changed here since the last time.

        Raises VolumeError, once all others are sent also for files whose names no key of the store
        can be, or whose place something of another kind has; VolumeFileNotFoundError where the
        volume was deleted.
        """
        if not self.url:
            return
        with self._explained(), self._turn() as turn:
            local = turn.look()
            changed = {
                path: seen
                for path, seen in local.items()
                if path not in turn.state or turn.state[path][:2] != seen
            }
            removed = [path for path in turn.state if path not in local]
            if not changed and not removed:
                return
            store = self._store()
            if turn.state and store.is_bare():
                raise self._bare(turn)
            # Before it is noted as sent: what a power cut took of it would count as changed here.
            self._write_out(turn.files)
            if removed:
                store.may_be_bare()
            # First, files that are folders by now, and what lies in folders that are files.
            folders = {above for path in changed for above in folders_of(path)}
            in_the_way = {path for path in removed if is_in_the_way(path, changed, folders)}
            for path in in_the_way:
                _remove(turn, path, store, bare_folders=True)
            unfit = []
            for path, seen in changed.items():
                try:
                    turn.note(path, [*seen, _send(turn, path, store)])
                except VolumeFileNotFoundError:
                    pass  # removed meanwhile
                except UnfitError:
                    unfit.append(path)
            for path in removed:
                if path not in in_the_way:
                    _remove(turn, path, store)
            if unfit:
                raise self._not_sent(unfit)

    # ---- what was seen -------------------------------------------------------------------------

    def _is_fresh(self) -> bool:
        try:
            pulled = self.files.with_name(PULLED).stat()
        except FileNotFoundError:
            return False
        # Later than now: the clock was set back since, or is a little behind a file server's.
        return abs(time.time() - pulled.st_mtime) <= FRESH_S

    @contextlib.contextmanager
    def _turn(self) -> Iterator[Turn]:
        """One process at a time. Raises VolumeFileNotFoundError where the volume was deleted."""
        with contextlib.ExitStack() as stack:
            turn = None
            while turn is None:
                place = self._open_place()
                stack.callback(os.close, place)
                with contextlib.suppress(CopyRemovedError):  # there is another one, or will be
                    turn = stack.enter_context(taken(place, self.files, self.label, self.id))
            yield turn

    def _open_place(self) -> int:
        """The directory that all lies in, open; where it is now, if the volume was renamed."""
        if not self.id:
            return _open_copy(self.files)
        place = self.files.parent
        while True:
            try:
                fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                pass
            else:
                if id_at(fd) == self.id:
                    return fd
                os.close(fd)
            try:
                place = Registry(self.files.parents[2]).by_id(self.id).place
            except NotFoundError:
                raise VolumeFileNotFoundError(f"{self.label} was deleted") from None

    def _bare(self, turn: Turn) -> VolumeError:
        return VolumeError(
            f"{self.label}: there is nothing at {without_password(self.url)}, where "
            f"{counted(len(turn.state), 'file was', 'files were')} at the last time. If it is to "
            f"be mounted, mount it. If it was emptied on purpose, make a file {EMPTIED} there: "
            f"then its files are removed here, too"
        )

    def _not_sent(self, paths: list[str]) -> VolumeError:
        named = ", ".join(map(repr, paths[:_NAMED]))
        more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
        return VolumeError(
            f"{self.label}: {named}{more} cannot be sent to {without_password(self.url)}, as no "
            f"name there can be so long, or have bytes that are no UTF-8, or as there is a folder "
            f"of that name by now, or a file in place of its folder: rename what is so called. All "
            f"other files are there"
        )

    def _store(self) -> StoreFolder:
        return opened(self.url, f"{self.label}:", self.options)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except VolumeError:
            raise
        except (SetupError, InvalidError) as error:
            raise VolumeError(str(error)) from error
        except Exception as error:  # clients of stores raise types of their own
            if came_by_signal(error):
                raise
            raise VolumeError(
                f"{self.label} and {without_password(self.url)} cannot be made the same: "
                f"{reason(error)}"
            ) from error


def of_volume(record: VolumeRecord) -> Folder:
    """The folder of a volume."""
    label = f"the volume {record.name!r}"
    return Folder(record.files, label, record.url, id=record.id)


def of_url(root: Path, url: str, options: Mapping[str, str]) -> Folder:
    """This machine's copy of a store's folder that is no volume, kept below ``root``."""
    if "://" not in url:
        raise InvalidError(
            f"{without_password(url)!r} is no URL of a store, as in s3://bucket/folder"
        )
    name = hashlib.sha256(json.dumps([url, sorted(options.items())]).encode()).hexdigest()[:32]
    files = root / COPIES / name / "files"
    return Folder(files, without_password(url), url, options)


def _open_copy(files: Path) -> int:
    """The directory that a copy lies in, open; made where there is none."""
    while True:
        try:
            return os.open(files.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            _make_copy(files)


def _make_copy(files: Path) -> None:
    """With its files at once: one that has lost them is never taken for one that has none."""
    copies = files.parent.parent
    draft = folder_draft(copies.parent)
    (draft / files.name).mkdir(parents=True, mode=0o700)
    try:
        copies.mkdir(exist_ok=True)
        os.rename(draft, files.parent)
    except OSError as error:
        if error.errno not in TAKEN:  # else somebody made it meanwhile
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _send(turn: Turn, path: str, store: StoreFolder) -> str:
    """A file to the store; its mark there.

    Raises VolumeFileNotFoundError where it is gone, UnfitError; the client's errors.
    """
    with turn.tree.open(path) as source:
        return store.put(path, source)


def _remove(turn: Turn, path: str, store: StoreFolder, *, bare_folders: bool = False) -> None:
    if turn.seen(path):
        return  # it has come back
    store.remove(path)
    if bare_folders:  # before it is noted: who is interrupted here does so next time
        store.remove_bare_folders(path)
    turn.note(path, None)
