"""A snapshot being made: begun in a store, dumped into, then committed or discarded."""

from __future__ import annotations

import logging
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.exception import InvalidError, SnapshotCreateError, SnapshotError
from rekindle.linux.files import lock
from rekindle.linux.passing import is_full
from rekindle.snapshot import carried, content, files, seal, stamp, store, use
from rekindle.snapshot.entry import Snapshot
from rekindle.snapshot.files import locked
from rekindle.snapshot.manifest import IMAGES, MAPPED, Manifest
from rekindle.snapshot.seal import InRoot
from rekindle.snapshot.store import SnapshotStore
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

_LIBRARIES = ".libraries.json"
_USE_ANOTHER_DISK = (
    "remove snapshots with `rekindle snapshot rm`, or set REKINDLE_HOME to a larger disk"
)


def begin(to: SnapshotStore, key: str, *, needs_bytes: int = 0) -> Draft:
    """Begin a snapshot; if ``needs_bytes`` do not fit, remove others that are not in use.

    Raises SnapshotCreateError when they do not fit then, either.
    """
    store.check_key(key)
    to.sweep()
    free = shutil.disk_usage(to.root).free
    if needs_bytes > free:
        to.gc(max(0, to.usage().size_bytes - (needs_bytes - free)))
        free = shutil.disk_usage(to.root).free
    if needs_bytes > free:
        raise SnapshotCreateError(
            f"no space left on {to.root}: the snapshot needs {needs_bytes >> 20} MiB, "
            f"{free >> 20} MiB are free; {_USE_ANOTHER_DISK}"
        )
    path = to.root / f"{store.DRAFT}{key}-{store.unique_suffix()}"
    try:
        with locked(to.root):  # so that no sweep sees the directory before its own lock
            path.mkdir(mode=0o700)
            # This lock goes with the process, so it distinguishes live drafts from abandoned ones,
            # even between agents that cannot see each other's PIDs.
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            lock(held)
    except OSError as error:
        raise _create_error(to.root, error, "begin a snapshot") from error
    draft = Draft(to, key, path, held)
    try:
        draft.images.mkdir(mode=0o700)
    except OSError as error:
        draft.discard()
        raise _create_error(to.root, error, "begin a snapshot") from error
    return draft


@dataclass
class Draft:
    """A snapshot being made: dump into ``images``, then ``commit``; else ``discard``."""

    store: SnapshotStore
    key: str
    path: Path
    _lock: int
    started: float = field(default_factory=time.time)

    @property
    def images(self) -> Path:
        """The directory to dump into."""
        return self.path / IMAGES

    def commit(self, manifest: Manifest, in_root: InRoot | None = None) -> Snapshot:
        """Map, hash and sync the images, write the manifest, put the snapshot in its place.

        Fills in what the manifest says of files and mapping and, where missing, ``pages_bytes`` and
        ``made_because``. Makes room for it afterwards, by the store's budget. When
        another agent has committed the same key since this draft began, that one is kept and
        returned. Raises SnapshotCreateError; the draft is gone then, too.
        """
        try:
            self._complete(manifest, in_root)
            snapshot = self._put_in_place(manifest)
        except OSError as error:
            raise _create_error(self.store.root, error, "keep the snapshot") from error
        finally:
            self.discard()
        self._make_room()
        return snapshot

    def adopt(self, manifest: Manifest) -> Snapshot:
        """Put a snapshot that was carried here in its place: all its files are in the draft.

        As ``commit``, but nothing is mapped and hashed again. Raises SnapshotCreateError,
        SnapshotInvalidError, CriuNotFoundError; the draft is gone then, too.
        """
        root = self.store.root
        try:
            carried.put_together(self.path, root / self.key, manifest)
            content.share(root, self.path, manifest)
            carried.trust(self.path, manifest)
            for directory in (self.images, self.path / MAPPED, self.path):
                files.sync_directory(directory)
            snapshot = self._put_in_place(manifest)
        except OSError as error:
            raise _create_error(root, error, "keep the snapshot") from error
        finally:
            self.discard()
        self._make_room()
        return snapshot

    def _make_room(self) -> None:
        try:
            self.store.gc(keep={self.key})
        except (OSError, InvalidError) as error:
            log.warning("no room made after a commit", extra=kv(reason=error))

    def discard(self) -> None:
        """Leave nothing of the draft. May be called again, and after ``commit``."""
        if self._lock >= 0:
            if self.path.exists():  # not committed
                self.store.delete_tree(self.path)
            os.close(self._lock)
            self._lock = -1

    def _complete(self, manifest: Manifest, in_root: InRoot | None) -> None:
        started = time.monotonic()
        root = self.store.root
        manifest.key = self.key
        libraries = root / _LIBRARIES
        seal.seal(self.path, root / self.key, manifest, libraries=libraries, in_root=in_root)
        if not manifest.made_because:
            manifest.made_because = self.store.reasons(manifest.ingredients)
        content.share(root, self.path, manifest)
        use.begin(self.path)
        manifest.commit_ms = (time.monotonic() - started) * 1e3
        files.write_durably(self.path / store.MANIFEST, manifest.to_json())
        stamp.write(self.path, stamp.look(self.path, manifest.content))
        files.sync_directory(self.images)
        if manifest.mapping:
            files.sync_directory(self.path / MAPPED)
        files.sync_directory(self.path)

    def _put_in_place(self, manifest: Manifest) -> Snapshot:
        root = self.store.root
        target = root / self.key
        old: Path | None = None
        with locked(root):
            if target.exists():
                rival = self._readable_rival()
                if rival is not None and rival.manifest.created >= self.started:
                    log.info("snapshot kept key=%s: another agent made it first", self.key)
                    return rival
                old = self.store.to_trash(target)
            os.rename(self.path, target)
            files.sync_directory(root)
        if old is not None:
            self.store.delete_tree(old)
        return Snapshot(self.key, target, manifest)

    def _readable_rival(self) -> Snapshot | None:
        try:
            return self.store.get(self.key)
        except SnapshotError as error:
            log.info("snapshot replaced key=%s: %s", self.key, error)
            return None


def _create_error(root: Path, error: OSError, doing: str) -> SnapshotCreateError:
    """The error that a failed write to the store is reported as."""
    if is_full(error):
        return SnapshotCreateError(f"no space left on {root}: {_USE_ANOTHER_DISK}")
    return SnapshotCreateError(f"cannot {doing} in {root}: {error.strerror or error}")
