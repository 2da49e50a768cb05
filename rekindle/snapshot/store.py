"""The snapshot store: drafts, commits, listing, removal. It outlives daemons and reboots.

Layout, private to its user: ``KEY/{manifest.json,verified.json,dump.log,images/,mapped/}``,
the last being images that map the page files in the one before; work in progress under names that
begin with a dot. Several agents may share a store: a commit is one rename, made under a lock.
Knows nothing of CRIU's images but their names.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from rekindle.exception import NotFoundError, SnapshotCreateError, SnapshotInvalidError
from rekindle.snapshot import files, key, seal, stamp
from rekindle.snapshot.key import Ingredients
from rekindle.snapshot.manifest import IMAGES, MAPPED, Manifest

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
FIRST_SNAPSHOT = "first snapshot of this function"

_KEY = re.compile(r"sn-[0-9a-f]{20}\Z")
_DRAFT = ".draft-"
_TRASH = ".trash-"
_LIBRARIES = ".libraries.json"
#: For annotations: the store's own ``list`` hides the builtin one there.
_Words = list[str]


@dataclass(frozen=True)
class Snapshot:
    """A committed snapshot whose manifest can be read; ``validate`` tells whether it fits."""

    key: str
    path: Path
    manifest: Manifest

    @property
    def images(self) -> Path:
        """The images as CRIU dumped them; never written to."""
        return self.path / IMAGES

    @property
    def mapped(self) -> Path:
        """The images that map the page files in ``images``; there only if ``is_mapped``."""
        return self.path / MAPPED

    @property
    def is_mapped(self) -> bool:
        """Whether it can be restored by mapping its memory."""
        return bool(self.manifest.mapping) and not self._moved

    @property
    def why_not_mapped(self) -> str:
        """Why it is restored by copying; "" if it is mapped."""
        if self._moved:
            return "the store was moved since, and mapped images name the page files by their path"
        return self.manifest.not_mapped

    @property
    def _moved(self) -> bool:
        at = self.manifest.mapping.get("page_files_at")
        return at is not None and Path(at).parents[1] != self.path

    def images_for(self, mapped: bool) -> Path:
        """The directory to restore from: the mapped images if asked for and there."""
        return self.mapped if mapped and self.is_mapped else self.images


@dataclass(frozen=True)
class Entry:
    """What the store lists: a snapshot, or the reason why one cannot be read."""

    key: str
    path: Path
    size_bytes: int
    created: float
    snapshot: Snapshot | None
    problem: str = ""


@dataclass(frozen=True)
class Usage:
    """How much the store holds, and how much more its disk can take; bytes."""

    snapshots: int
    size_bytes: int
    free_bytes: int


@dataclass
class Draft:
    """A snapshot being made: dump into ``images``, then ``commit``; else ``discard``.

    As a context manager it discards what was not committed.
    """

    store: SnapshotStore
    key: str
    path: Path
    _lock: int
    started: float = field(default_factory=time.time)

    @property
    def images(self) -> Path:
        """The directory to dump into."""
        return self.path / IMAGES

    def commit(self, manifest: Manifest) -> Snapshot:
        """Hash and sync the images, write the manifest, and put the snapshot in its place.

        Fills in ``manifest.files`` and, where missing, ``pages_bytes`` and ``made_because``. When
        another agent has committed the same key since this draft began, that one is kept and
        returned. Raises SnapshotCreateError; the draft is gone then, too.
        """
        try:
            return self.store._commit(self, manifest)
        except OSError as error:
            raise self.store.create_error(error, "keep the snapshot") from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Leave nothing of the draft. May be called again, and after ``commit``."""
        if self._lock >= 0:
            _remove_tree(self.path)
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()


class SnapshotStore:
    """Snapshots under one directory."""

    def __init__(self, root: Path) -> None:
        """``root`` is made where missing, with mode 0700: images hold users' memory."""
        self.root = root = root.absolute()
        self._manifests: dict[str, tuple[tuple[int, ...], Manifest]] = {}
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if root.stat().st_mode & 0o077:
            root.chmod(0o700)

    # ---- making ----------------------------------------------------------------------------

    def draft(self, key: str, *, needs_bytes: int = 0) -> Draft:
        """Begin a snapshot. Raises SnapshotCreateError when ``needs_bytes`` do not fit."""
        _check_key(key)
        self.sweep()
        free = shutil.disk_usage(self.root).free
        if needs_bytes > free:
            raise SnapshotCreateError(
                f"no space left on {self.root}: the snapshot needs {needs_bytes >> 20} MiB, "
                f"{free >> 20} MiB are free; remove snapshots with `rekindle snapshot rm`, or set "
                "REKINDLE_HOME to a larger disk"
            )
        path = self.root / f"{_DRAFT}{key}-{_unique()}"
        try:
            with self._locked():  # so that no sweep sees the directory before its own lock
                path.mkdir(mode=0o700)
                # This lock goes with the process, so it tells live drafts from abandoned ones,
                # even between agents that cannot see each other's PIDs.
                lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise self.create_error(error, "begin a snapshot") from error
        draft = Draft(self, key, path, lock)
        try:
            draft.images.mkdir(mode=0o700)
        except OSError as error:
            draft.discard()
            raise self.create_error(error, "begin a snapshot") from error
        return draft

    def create_error(self, error: OSError, doing: str) -> SnapshotCreateError:
        """The error that a failed write to the store is reported as."""
        if files.is_full(error):
            return SnapshotCreateError(
                f"no space left on {self.root}: remove snapshots with `rekindle snapshot rm`, or "
                "set REKINDLE_HOME to a larger disk"
            )
        return SnapshotCreateError(f"cannot {doing} in {self.root}: {error.strerror or error}")

    def _commit(self, draft: Draft, manifest: Manifest) -> Snapshot:
        manifest.key = draft.key
        seal.seal(draft.path, self.root / draft.key, manifest, libraries=self.root / _LIBRARIES)
        if not manifest.made_because:
            manifest.made_because = self.reasons(manifest.ingredients)
        files.write_durably(draft.path / MANIFEST, manifest.to_json())
        stamp.write(draft.path, manifest.content)
        files.sync_directory(draft.images)
        if manifest.mapping:
            files.sync_directory(draft.path / MAPPED)
        files.sync_directory(draft.path)
        return self._put_in_place(draft, manifest)

    def _put_in_place(self, draft: Draft, manifest: Manifest) -> Snapshot:
        target = self.root / draft.key
        old: Path | None = None
        with self._locked():
            if target.exists():
                rival = self._readable(draft.key)
                if rival is not None and rival.manifest.created >= draft.started:
                    log.info("snapshot kept key=%s: another agent made it first", draft.key)
                    return rival
                old = self._to_trash(target)
            os.rename(draft.path, target)
            files.sync_directory(self.root)
        if old is not None:
            _remove_tree(old)
        return Snapshot(draft.key, target, manifest)

    # ---- finding ---------------------------------------------------------------------------

    def get(self, key: str) -> Snapshot | None:
        """The snapshot of that name, not yet validated; None when there is none.

        Raises SnapshotInvalidError when its manifest cannot be read.
        """
        _check_key(key)
        path = self.root / key
        try:
            info = os.stat(path / MANIFEST)
        except FileNotFoundError:
            if path.is_dir():
                raise SnapshotInvalidError(f"snapshot {key}: its manifest is missing") from None
            return None
        except OSError as error:
            raise SnapshotInvalidError(
                f"snapshot {key}: its manifest cannot be read: {error.strerror}"
            ) from error
        seen = (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        kept = self._manifests.get(key)
        if kept is None or kept[0] != seen:
            kept = (seen, _read_manifest(key, path / MANIFEST))
            self._manifests[key] = kept
        return Snapshot(key, path, kept[1])

    def list(self) -> list[Entry]:
        """Everything in the store, newest first, what cannot be read included."""
        entries = []
        for path in self.root.iterdir():
            if not _KEY.match(path.name):
                continue
            snapshot, problem = None, ""
            try:
                snapshot = self.get(path.name)
                if snapshot is None:
                    continue  # removed meanwhile
                created = snapshot.manifest.created
            except SnapshotInvalidError as error:
                problem, created = str(error), _mtime(path)
            entries.append(Entry(path.name, path, _tree_bytes(path), created, snapshot, problem))
        return sorted(entries, key=lambda entry: entry.created, reverse=True)

    def resolve(self, prefix: str) -> str:
        """The one key that begins with ``prefix`` (``sn-`` may be left out).

        Raises NotFoundError when there is none, or more than one.
        """
        wanted = prefix if prefix.startswith(key.KEY_PREFIX) else key.KEY_PREFIX + prefix
        names = sorted(p.name for p in self.root.iterdir() if _KEY.match(p.name))
        found = [name for name in names if name.startswith(wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            raise NotFoundError(f"{prefix} is short for several snapshots: {', '.join(found)}")
        raise NotFoundError(f"no snapshot {prefix} in {self.root}; see `rekindle snapshot ls`")

    def newest(self, app: str, function: str) -> Snapshot | None:
        """The newest readable snapshot of a function, whatever it was made from."""
        for entry in self.list():
            found = entry.snapshot
            if found and (found.manifest.app, found.manifest.function) == (app, function):
                return found
        return None

    def reasons(self, ingredients: Ingredients, refused: str = "") -> _Words:
        """Why a snapshot of these ingredients has to be made anew, in words.

        ``refused`` is why the one of the same name was refused, if it was.
        """
        if refused:
            return [refused]
        earlier = self.newest(ingredients.app, ingredients.function)
        if earlier is None:
            return [FIRST_SNAPSHOT]
        return key.differences(earlier.manifest.ingredients, ingredients) or ["made again"]

    def usage(self) -> Usage:
        """How much is stored and how much fits."""
        sizes = [_tree_bytes(p) for p in self.root.iterdir() if _KEY.match(p.name)]
        return Usage(len(sizes), sum(sizes), shutil.disk_usage(self.root).free)

    # ---- removing --------------------------------------------------------------------------

    def remove(self, key: str) -> int:
        """Remove a snapshot; bytes freed. Raises NotFoundError.

        Runners restored from it keep what they have mapped.
        """
        _check_key(key)
        with self._locked():
            path = self.root / key
            if not path.is_dir():
                raise NotFoundError(f"no snapshot {key} in {self.root}")
            trash = self._to_trash(path)
        freed = _tree_bytes(trash)
        _remove_tree(trash)
        self._manifests.pop(key, None)
        return freed

    def sweep(self) -> None:
        """Remove what agents that died left half made or half removed."""
        with self._locked():
            leftovers = [
                path
                for path in self.root.iterdir()
                if path.name.startswith(_TRASH)
                or (path.name.startswith(_DRAFT) and _is_abandoned(path))
            ]
        for path in leftovers:
            log.info("snapshot leftover removed path=%s", path)
            _remove_tree(path)

    def _to_trash(self, path: Path) -> Path:
        trash = self.root / f"{_TRASH}{path.name}-{_unique()}"
        os.rename(path, trash)
        return trash

    def _readable(self, key: str) -> Snapshot | None:
        try:
            return self.get(key)
        except SnapshotInvalidError as error:
            log.info("snapshot replaced key=%s: %s", key, error)
            return None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _unique() -> str:
    # Random, because agents in different containers can have the same PID.
    return f"{os.getpid()}-{os.urandom(4).hex()}"


def _check_key(key: str) -> None:
    if not _KEY.match(key):
        raise NotFoundError(f"{key!r} is no snapshot name (sn- and 20 hex digits)")


def _read_manifest(key: str, path: Path) -> Manifest:
    try:
        manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise SnapshotInvalidError(f"snapshot {key}: its manifest is not text") from None
    except OSError as error:
        raise SnapshotInvalidError(
            f"snapshot {key}: its manifest cannot be read: {error.strerror}"
        ) from error
    except SnapshotInvalidError as error:
        raise SnapshotInvalidError(f"snapshot {key}: {error}") from None
    if manifest.key != key:
        raise SnapshotInvalidError(f"snapshot {key}: its manifest is that of {manifest.key}")
    return manifest


def _is_abandoned(draft: Path) -> bool:
    try:
        fd = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False  # committed or removed meanwhile
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        log.warning("snapshot leftover not removed path=%s", path)


def _tree_bytes(path: Path) -> int:
    """Bytes of all files, each counted once however many names it has."""
    sizes: dict[tuple[int, int], int] = {}
    for directory, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                info = os.lstat(os.path.join(directory, name))
                sizes[info.st_dev, info.st_ino] = info.st_size
    return sum(sizes.values())


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
