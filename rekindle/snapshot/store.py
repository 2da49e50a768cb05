"""The snapshot store: drafts, commits, listing, removal. It outlives daemons and reboots.

Layout, private to its user: ``KEY/{manifest.json,verified.json,used,dump.log,images/,mapped/}``,
the last being images that map the page files in the one before; ``.content/`` for files that
several share; work in progress under other names that begin with a dot. Several agents may share a
store: a commit is one rename, made under a lock.
Knows nothing of CRIU's images but their names.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from rekindle.exception import (
    InvalidError,
    NotFoundError,
    SnapshotCreateError,
    SnapshotInvalidError,
)
from rekindle.snapshot import budget, collect, content, extents, files, key, seal, stamp, use
from rekindle.snapshot.draft import Draft
from rekindle.snapshot.entry import Entry, Removal, Snapshot, Usage
from rekindle.snapshot.files import Inode
from rekindle.snapshot.key import Ingredients
from rekindle.snapshot.lock import locked
from rekindle.snapshot.manifest import MAPPED, Manifest
from rekindle.snapshot.use import Pin
from rekindle.wire.logs import kv

__all__ = ["Draft", "Entry", "Pin", "Removal", "Snapshot", "SnapshotStore", "Usage"]

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
FIRST_SNAPSHOT = "first snapshot of this function"

_KEY = re.compile(r"sn-[0-9a-f]{20}\Z")
_DRAFT = ".draft-"
_TRASH = ".trash-"
_LIBRARIES = ".libraries.json"
#: For annotations: the store's own ``list`` hides the builtin one there.
_Words = list[str]
_Removals = list[Removal]
_Scanned = list[tuple[Entry, dict[int, Inode]]]


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
        """Begin a snapshot; if ``needs_bytes`` do not fit, remove others that are not in use.

        Raises SnapshotCreateError when they do not fit then, either.
        """
        _check_key(key)
        self.sweep()
        free = shutil.disk_usage(self.root).free
        if needs_bytes > free:
            self.gc(max(0, self.usage().size_bytes - (needs_bytes - free)))
            free = shutil.disk_usage(self.root).free
        if needs_bytes > free:
            raise SnapshotCreateError(
                f"no space left on {self.root}: the snapshot needs {needs_bytes >> 20} MiB, "
                f"{free >> 20} MiB are free; remove snapshots with `rekindle snapshot rm`, or set "
                "REKINDLE_HOME to a larger disk"
            )
        path = self.root / f"{_DRAFT}{key}-{_unique()}"
        try:
            with locked(self.root):  # so that no sweep sees the directory before its own lock
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
        started = time.monotonic()
        manifest.key = draft.key
        seal.seal(draft.path, self.root / draft.key, manifest, libraries=self.root / _LIBRARIES)
        if not manifest.made_because:
            manifest.made_because = self.reasons(manifest.ingredients)
        content.share(self.root, draft.path, manifest)
        self._share_pages(draft, manifest)
        use.begin(draft.path)
        manifest.commit_ms = (time.monotonic() - started) * 1e3
        files.write_durably(draft.path / MANIFEST, manifest.to_json())
        stamp.write(draft.path, stamp.look(draft.path, manifest.content))
        files.sync_directory(draft.images)
        if manifest.mapping:
            files.sync_directory(draft.path / MAPPED)
        files.sync_directory(draft.path)
        snapshot = self._put_in_place(draft, manifest)
        try:
            self.gc(keep={draft.key})
        except (OSError, InvalidError) as error:
            log.warning("no room made after a commit", extra=kv(reason=error))
        return snapshot

    def _share_pages(self, draft: Draft, manifest: Manifest) -> None:
        """Share pages with a snapshot of the same packages, where the file system can."""
        if not extents.supported(self.root):
            return
        wanted = manifest.ingredients.packages
        like = [e.snapshot for e in self.list() if e.snapshot and e.key != draft.key]
        alike = [other for other in like if other.manifest.ingredients.packages == wanted]
        for donor in alike[:1]:
            for name in sorted(manifest.files.keys() & donor.manifest.files.keys()):
                if name.startswith("pages-"):
                    extents.share_pages(draft.images / name, donor.images / name)

    def _put_in_place(self, draft: Draft, manifest: Manifest) -> Snapshot:
        target = self.root / draft.key
        old: Path | None = None
        with locked(self.root):
            if target.exists():
                rival = self._readable(draft.key)
                if rival is not None and rival.manifest.created >= draft.started:
                    log.info("snapshot kept key=%s: another agent made it first", draft.key)
                    return rival
                old = self._to_trash(target)
            os.rename(draft.path, target)
            files.sync_directory(self.root)
        if old is not None:
            self.delete_tree(old)
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
        return [entry for entry, _found in self.scan()]

    def scan(self) -> _Scanned:
        """The entries with the files of each, by inode number."""
        scanned: _Scanned = []
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
            found = files.inodes(path)
            common = content.shared(self.root, found)
            entry = Entry(
                key=path.name,
                path=path,
                size_bytes=sum(inode.disk_bytes for inode in found.values()),
                shared_bytes=sum(found[number].disk_bytes for number in common),
                created=created,
                last_used=use.last(path) or created,
                in_use=use.is_pinned(path),
                snapshot=snapshot,
                problem=problem,
            )
            scanned.append((entry, found))
        return sorted(scanned, key=lambda item: item[0].created, reverse=True)

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
        """How much is stored, may be stored, and fits. Raises InvalidError for a bad budget."""
        scanned = self.scan()
        inodes = {number: inode for _entry, found in scanned for number, inode in found.items()}
        total = sum(inode.disk_bytes for inode in inodes.values())
        return Usage(
            snapshots=len(scanned),
            size_bytes=total,
            shared_bytes=sum(entry.size_bytes for entry, _found in scanned) - total,
            budget_bytes=budget.of_store(self.root),
            free_bytes=shutil.disk_usage(self.root).free,
        )

    # ---- using -----------------------------------------------------------------------------

    def touch(self, key: str) -> None:
        """Note that a snapshot is used now; nothing when it is gone. Cheap."""
        _check_key(key)
        use.touch(self.root / key)

    def pin(self, key: str) -> Pin | None:
        """Keep a snapshot from being removed to make room, as long as the pin is held. Cheap.

        None when the snapshot is gone. The pin goes with this process at the latest.
        """
        _check_key(key)
        return use.pin(self.root / key)

    # ---- removing --------------------------------------------------------------------------

    def remove(self, key: str) -> int:
        """Remove a snapshot, also one in use; bytes freed. Raises NotFoundError.

        Runners restored from it keep what they have mapped.
        """
        _check_key(key)
        with locked(self.root):
            path = self.root / key
            if not path.is_dir():
                raise NotFoundError(f"no snapshot {key} in {self.root}")
            trash = self._to_trash(path)
        return self.delete_tree(trash)

    def gc(
        self,
        budget_bytes: int | None = None,
        *,
        dry_run: bool = False,
        keep: Collection[str] = (),
    ) -> _Removals:
        """Remove snapshots, least recently used first, until the rest is within the budget.

        The budget is the store's own unless given. None that is pinned or in ``keep`` goes; what
        cannot be read goes first. ``dry_run`` tells what would go. Raises InvalidError for a bad
        budget in the environment.
        """
        limit = budget.of_store(self.root) if budget_bytes is None else budget_bytes
        if not dry_run:
            self.sweep()
        return collect.collect(self, limit, dry_run=dry_run, keep=keep)

    def remove_unless_pinned(self, key: str) -> int | None:
        """Remove a snapshot, unless somebody has pinned it: None then, else the bytes freed."""
        path = self.root / key
        with locked(self.root), use.claim(path) as free:
            if not free:
                return None
            if not path.is_dir():
                return 0  # another one was quicker
            trash = self._to_trash(path)
        return self.delete_tree(trash)

    def delete_tree(self, trash: Path) -> int:
        """Unlink what is in a draft or in the trash; bytes freed."""
        found = files.inodes(trash)
        common = content.shared(self.root, found)
        if common:
            # It changes the ctime of files that others hold, and their stamps must not break.
            with locked(self.root), stamp.unbroken(stamp.holders(self.root, common)):
                files.remove_tree(trash)
        else:
            files.remove_tree(trash)
        with locked(self.root):
            content.drop_unused(self.root)
        return sum(found[number].disk_bytes for number in found.keys() - common)

    def sweep(self) -> None:
        """Remove what agents that died left half made or half removed."""
        with locked(self.root):
            leftovers = [
                path
                for path in self.root.iterdir()
                if path.name.startswith(_TRASH)
                or (path.name.startswith(_DRAFT) and _is_abandoned(path))
            ]
        for path in leftovers:
            log.info("snapshot leftover removed path=%s", path)
            self.delete_tree(path)
        if not leftovers:
            with locked(self.root):
                content.drop_unused(self.root)

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


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
