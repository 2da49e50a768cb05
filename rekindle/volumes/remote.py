"""A folder of this machine that is a volume, and the folder of a store that it is kept the same as.

Without a URL the folder is all there is: who writes to it writes to the volume. With one (fsspec:
``s3://``, ``gs://``, another directory), it is this machine's copy: ``pull`` brings what changed in
the store, ``push`` sends what changed here. Files are compared by what was seen at the last time.
The last push of a file wins; what was changed here and not pushed is never overwritten by a pull.
Links and empty directories do not travel, nor do objects whose names no file beside the others can
have: ``folder/``, as consoles of stores make, ``a`` where there is ``a/b``, ``a/../b``, or one too
long. A store that is a directory and has nothing in it is not taken to be empty, unless a push says
so: it may be one that is not mounted.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rekindle import filesystems
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
from rekindle.volumes.registry import TAKEN, Registry, VolumeRecord, folder_draft, id_at
from rekindle.volumes.tree import DRAFT, Tree
from rekindle.volumes.turn import PULLED, CopyRemovedError, Turn, taken
from rekindle.wire.usercode import came_by_signal

#: A start does not look again at a store that was looked at so recently.
FRESH_S = 1.0
#: What stores call that which changes with a file's content, the best first.
_MARKS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
_CHUNK_BYTES = 1 << 20
#: Of a file's name, at most.
_NAME_BYTES = 255
#: So many files are named by an error.
_NAMED = 5
#: What a directory says where a folder is in a file's place, or a file in a folder's.
_OTHER_KIND = (IsADirectoryError, NotADirectoryError, FileExistsError)
#: Beside the files of a store that is a directory: some were removed, so there may be none. It
#: begins as drafts do, which are no files of a volume.
EMPTIED = f"{DRAFT}may-be-empty"
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
            store, base = self._store()
            remote = _listed(store, base)
            if not remote and turn.state and (remote is None or _is_bare(store, base)):
                raise self._bare(turn)
            remote = remote or {}
            local = turn.look()
            # First, as what was a file may be a folder by now.
            for path in [path for path in turn.state if path not in remote]:
                if local.get(path) == turn.state[path][:2] == turn.seen(path):
                    turn.tree.remove(path)
                    del local[path]
                turn.note(path, None)  # where it was changed here, it is sent again as a new one
            folders = {above for path in local for above in _folders_of(path)}
            for path, mark in remote.items():
                known = turn.state.get(path)
                changed_here = local.get(path) != (known[:2] if known else None)
                if changed_here or (known and known[2] == mark):
                    continue
                if path in folders or any(above in local for above in _folders_of(path)):
                    continue  # what was changed here is in its place
                try:
                    brought = _bring(turn, path, store, f"{base}/{path}", local.get(path, []))
                except _ChangedHereError:
                    continue
                turn.note(path, [*brought, mark])
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
            store, base = self._store()
            if turn.state and _is_bare(store, base):
                raise self._bare(turn)
            # Before it is noted as sent: what a power cut took of it would count as changed here.
            self._write_out(turn.files)
            if removed:
                _may_be_bare(store, base)
            in_the_way = _in_the_way(removed, changed)
            for path in in_the_way:
                _remove(turn, path, store, base)
                _remove_bare_folders(store, base, path)
            unfit = []
            for path, seen in changed.items():
                try:
                    turn.note(path, [*seen, _send(turn, path, store, f"{base}/{path}")])
                except VolumeFileNotFoundError:
                    pass  # removed meanwhile
                except _UnfitError:
                    unfit.append(path)
            for path in removed:
                if path not in in_the_way:
                    _remove(turn, path, store, base)
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

    def _store(self) -> tuple[Any, str]:
        """The store's client, and the path of the folder in it."""
        store, base = filesystems.open_url(self.url, f"{self.label}:", dict(self.options))
        store.invalidate_cache()
        return store, base

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


class _ChangedHereError(Exception):
    """A file was written while another one was on its way to its place."""


def _bring(turn: Turn, path: str, store: Any, place: str, before: list[int]) -> list[int]:
    """A file of the store to its place, in that of ``before``; its size and modification time.

    Raises _ChangedHereError where it is not what it was before; VolumeError, the client's errors.
    """
    turn.tree.remove_bare(path)
    with store.open(place, "rb") as source, turn.tree.write(path) as target:
        while piece := source.read(_CHUNK_BYTES):
            target.write(piece)
        target.flush()
        # Set, as some file systems set it themselves when the file is closed.
        os.utime(target.fileno())
        os.fsync(target.fileno())  # before it is noted, as in ``push``
        if turn.seen(path) != before:
            raise _ChangedHereError
        info = os.fstat(target.fileno())
        return [info.st_size, info.st_mtime_ns]


class _UnfitError(Exception):
    """In the store nothing can be called so, or something of another kind is."""


def _send(turn: Turn, path: str, store: Any, place: str) -> str:
    """A file to the store; its mark there.

    Raises VolumeFileNotFoundError where it is gone, _UnfitError; the client's errors.
    """
    with turn.tree.open(path) as source:
        try:
            store.makedirs(place.rpartition("/")[0], exist_ok=True)
            with store.open(place, "wb") as target:
                while piece := source.read(_CHUNK_BYTES):
                    target.write(piece)
        except (UnicodeEncodeError, *_OTHER_KIND) as error:
            raise _UnfitError from error
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise _UnfitError from error
    store.invalidate_cache()
    return _mark(store.info(place))


def _in_the_way(removed: list[str], changed: Mapping[str, object]) -> set[str]:
    """What goes before others are sent: files that are folders by now, and what lies in folders
    that are files."""
    folders = {above for path in changed for above in _folders_of(path)}
    return {
        path
        for path in removed
        if path in folders or any(above in changed for above in _folders_of(path))
    }


def _folders_of(path: str) -> Iterator[str]:
    """Those that it lies in, the deepest first."""
    while path := path.rpartition("/")[0]:
        yield path


def _remove(turn: Turn, path: str, store: Any, base: str) -> None:
    if turn.seen(path):
        return  # it has come back
    # It is gone there, too: another machine may have made a folder of it, or a file of its folder.
    with contextlib.suppress(FileNotFoundError, *_OTHER_KIND):
        store.rm_file(f"{base}/{path}")
    turn.note(path, None)


def _remove_bare_folders(store: Any, base: str, path: str) -> None:
    """In stores of objects there are none."""
    if not base.startswith("/"):
        return
    with contextlib.suppress(OSError):  # something else is in it
        for folder in _folders_of(path):
            store.rmdir(f"{base}/{folder}")


def _is_bare(store: Any, base: str) -> bool:
    """Whether a directory is not there, or has nothing in it: so is one that is not mounted.

    In stores of objects there are no directories.
    """
    if not base.startswith("/"):
        return False
    try:
        return not store.ls(base, detail=False)
    except FileNotFoundError:
        return True


def _may_be_bare(store: Any, base: str) -> None:
    """Have a directory from which files are removed never be taken for one that is not mounted."""
    if base.startswith("/") and not store.exists(f"{base}/{EMPTIED}"):
        store.makedirs(base, exist_ok=True)
        store.pipe_file(f"{base}/{EMPTIED}", b"")


def _listed(store: Any, base: str) -> dict[str, str] | None:
    """Path -> mark of all files of the store's folder; None where not even its bucket is there."""
    try:
        found = filesystems.files_below(store, base)
    except FileNotFoundError:
        return None
    prefix = f"{base}/"
    inside = {path[len(prefix) :]: info for path, info in found.items() if path.startswith(prefix)}
    fit = {path: info for path, info in inside.items() if _fits_a_file(path)}
    folders = {above for path in fit for above in _folders_of(path)}
    return {
        path: _mark(info) for path, info in fit.items() if path not in folders and DRAFT not in path
    }


def _fits_a_file(path: str) -> bool:
    """Whether one can be called so. By ``..`` two names would be one file's."""
    return all(
        part not in ("", ".", "..") and "\0" not in part and len(os.fsencode(part)) <= _NAME_BYTES
        for part in path.split("/")
    )


def _mark(info: Mapping[str, Any]) -> str:
    """What changes when a file of the store does."""
    mark = next((info[name] for name in _MARKS if info.get(name)), "")
    return f"{info.get('size')}:{mark}"
