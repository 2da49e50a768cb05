"""A folder of this machine that is a volume, and the folder of a store that it is kept the same as.

Without a URL the folder is all there is: who writes to it writes to the volume. With one (fsspec:
``s3://``, ``gs://``, another directory), it is this machine's copy: ``pull`` brings what changed in
the store, ``push`` sends what changed here. Files are compared by what was seen at the last time.
The last push of a file wins; what was changed here and not pushed is never overwritten by a pull.
Links and empty directories do not travel.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rekindle import filesystems
from rekindle.exception import InvalidError, SetupError, VolumeError, VolumeFileNotFoundError
from rekindle.linux.libc import check, libc
from rekindle.shown_url import without_password
from rekindle.volumes.registry import VolumeRecord
from rekindle.volumes.tree import DRAFT, Tree

#: A start does not look again at a store that was looked at so recently.
FRESH_S = 1.0
#: What stores call that which changes with a file's content, the best first.
_MARKS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Folder:
    """See the module."""

    files: Path
    label: str
    url: str = ""
    #: For the store's client (an endpoint, say).
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

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
            check(libc.syncfs(ctypes.c_int(fd)), f"sync {self.files}")
        except OSError as error:
            raise VolumeError(f"{self.label} cannot be written to disk: {error}") from error
        finally:
            os.close(fd)

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
        with self._exclusive() as state, self._explained():
            if if_old and self._is_fresh():
                return  # somebody did while this one waited for its turn
            store, base = self._store()
            remote = _listed(store, base)
            local = self._local()
            for path, mark in remote.items():
                known = state.get(path)
                changed_here = local.get(path) != (known[:2] if known else None)
                if changed_here or (known and known[2] == mark):
                    continue
                with store.open(f"{base}/{path}", "rb") as source, self.tree.write(path) as target:
                    while piece := source.read(_CHUNK_BYTES):
                        target.write(piece)
                state[path] = [*_seen(self.files / path), mark]
            for path in [path for path in state if path not in remote]:
                if local.get(path) == state[path][:2]:
                    self.tree.remove(path)
                del state[path]  # where it was changed here, it is sent again as a new one
            self._pulled_file.touch()

    def push(self) -> None:
        """Send what changed here since the last time. Raises VolumeError."""
        if not self.url:
            return
        with self._exclusive() as state, self._explained():
            store, base = self._store()
            local = self._local()
            for path, seen in local.items():
                known = state.get(path)
                if known and known[:2] == seen:
                    continue
                with contextlib.suppress(VolumeFileNotFoundError):  # removed meanwhile
                    state[path] = [*seen, self._send(path, store, f"{base}/{path}")]
            for path in [path for path in state if path not in local]:
                with contextlib.suppress(FileNotFoundError):
                    store.rm_file(f"{base}/{path}")
                del state[path]

    def _send(self, path: str, store: Any, place: str) -> str:
        """A file to the store; its mark there. Raises VolumeFileNotFoundError, OSError."""
        with self.tree.open(path) as source:
            store.makedirs(place.rpartition("/")[0], exist_ok=True)
            with store.open(place, "wb") as target:
                while piece := source.read(_CHUNK_BYTES):
                    target.write(piece)
        store.invalidate_cache()
        return _mark(store.info(place))

    # ---- what was seen -------------------------------------------------------------------------

    @property
    def _state_file(self) -> Path:
        return self.files.with_name("sync.json")

    @property
    def _pulled_file(self) -> Path:
        """Touched by each pull that went well."""
        return self.files.with_name("sync.pulled")

    def _is_fresh(self) -> bool:
        try:
            return time.time() - self._pulled_file.stat().st_mtime <= FRESH_S
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[dict[str, list[Any]]]:
        """What was seen at the last time: path -> size, mtime_ns, mark in the store.

        One process at a time; what is changed is kept, also where not all could be done.
        """
        with open(self.files.with_name("sync.lock"), "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                state: dict[str, list[Any]] = json.loads(self._state_file.read_text())
            except FileNotFoundError:
                state = {}
            except ValueError as error:
                raise VolumeError(f"{self._state_file} is damaged; remove it: {error}") from error
            try:
                yield state
            finally:
                draft = self._state_file.with_name(".sync.json")
                draft.write_text(json.dumps(state))
                os.replace(draft, self._state_file)

    def _local(self) -> dict[str, list[int]]:
        """Path -> size and modification time of all plain files."""
        found = {}

        def failed(error: OSError) -> None:
            # What cannot be listed is not empty: its files would be removed from the store.
            if not isinstance(error, FileNotFoundError) or error.filename == os.fspath(self.files):
                raise error

        for directory, names, files in os.walk(self.files, onerror=failed):
            names[:] = [name for name in names if not name.startswith(DRAFT)]
            for name in files:
                place = Path(directory, name)
                if not name.startswith(DRAFT) and (seen := _seen(place)):
                    found[str(place.relative_to(self.files))] = seen
        return found

    def _store(self) -> tuple[Any, str]:
        """The store's client, and the path of the folder in it."""
        try:
            store, base = filesystems.open_url(self.url, f"{self.label}:", dict(self.options))
        except (SetupError, InvalidError) as error:
            raise VolumeError(str(error)) from error
        store.invalidate_cache()
        return store, base

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if isinstance(error, VolumeError):
                raise
            raise VolumeError(
                f"{self.label} and {without_password(self.url)} cannot be made the same: {error}"
            ) from error


def of_volume(record: VolumeRecord) -> Folder:
    """The folder of a volume."""
    return Folder(record.files, f"the volume {record.name!r}", record.url)


def of_url(root: Path, url: str, options: Mapping[str, str]) -> Folder:
    """This machine's copy of a store's folder that is no volume, kept below ``root``."""
    if "://" not in url:
        raise InvalidError(
            f"{without_password(url)!r} is no URL of a store, as in s3://bucket/folder"
        )
    name = hashlib.sha256(json.dumps([url, sorted(options.items())]).encode()).hexdigest()[:32]
    files = root / ".urls" / name / "files"
    files.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Folder(files, url, url, options)


def _seen(place: Path) -> list[int]:
    """Size and modification time of a plain file; empty for what is none, or gone."""
    try:
        info = place.lstat()
    except FileNotFoundError:
        return []
    return [info.st_size, info.st_mtime_ns] if stat.S_ISREG(info.st_mode) else []


def _listed(store: Any, base: str) -> dict[str, str]:
    """Path -> mark of all files of the store's folder."""
    try:
        found = store.find(base, detail=True)
    except FileNotFoundError:
        return {}
    prefix = f"{base}/"
    return {
        path[len(prefix) :]: _mark(info)
        for path, info in found.items()
        if path.startswith(prefix) and DRAFT not in path
    }


def _mark(info: Mapping[str, Any]) -> str:
    """What changes when a file of the store does."""
    mark = next((info[name] for name in _MARKS if info.get(name)), "")
    return f"{info.get('size')}:{mark}"
