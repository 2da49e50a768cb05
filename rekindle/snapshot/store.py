"""The snapshot store: finding, using and removing. It outlives daemons and reboots.

Layout, private to its user: ``KEY/{manifest.json,verified.json,used,dump.log,images/,mapped/}``,
the last being images that map the page files in the one before; ``.content/`` for files that
several share; work in progress under other names that begin with a dot. Several agents may share a
store: a commit is one rename, made under a lock.
How one is made is in draft.py. Knows nothing of CRIU's images but their names.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from rekindle.exception import (
    NotFoundError,
    SnapshotError,
    SnapshotInvalidError,
)
from rekindle.linux import disk_use
from rekindle.linux.files import try_lock
from rekindle.snapshot import budget, content, files, key, renaming, stamp, use
from rekindle.snapshot.budget import Candidate
from rekindle.snapshot.entry import Entry, Removal, Snapshot, Usage
from rekindle.snapshot.files import locked
from rekindle.snapshot.key import Ingredients
from rekindle.snapshot.manifest import Manifest
from rekindle.snapshot.unreadable import unreadable
from rekindle.snapshot.use import Pin
from rekindle.wire.logs import kv

__all__ = ["Entry", "Snapshot", "SnapshotStore"]

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
FIRST_SNAPSHOT = "first snapshot of this function"

_KEY = re.compile(r"sn-[0-9a-f]{20}\Z")
DRAFT = ".draft-"
_TRASH = ".trash-"
#: For annotations: the store's own ``list`` hides the builtin one there.
_Words = list[str]
_Removals = list[Removal]


class SnapshotStore:
    """Snapshots under one directory."""

    def __init__(self, root: Path) -> None:
        """``root`` is made where missing, with mode 0700: images hold users' memory."""
        self.root = root = root.absolute()
        #: Of snapshots that were there when they were looked for last.
        self._manifests: dict[str, tuple[tuple[int, ...], Manifest]] = {}
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if root.stat().st_mode & 0o077:
            root.chmod(0o700)

    # ---- finding ---------------------------------------------------------------------------

    def get(self, key: str) -> Snapshot | None:
        """The snapshot of that name, not yet validated; None when there is none.

        Raises SnapshotInvalidError when its manifest cannot be read, SnapshotError when that may
        pass.
        """
        check_key(key)
        path = self.root / key
        try:
            info = os.stat(path / MANIFEST)
            seen = (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
            kept = self._manifests.get(key)
            if kept is None or kept[0] != seen:
                kept = self._manifests[key] = (seen, _read_manifest(key, path / MANIFEST))
        except FileNotFoundError:
            self._manifests.pop(key, None)
            if path.is_dir():
                raise SnapshotInvalidError(f"snapshot {key}: its manifest is missing") from None
            return None
        except OSError as error:
            raise unreadable(key, "its manifest cannot be read", error) from error
        return Snapshot(key, path, kept[1])

    def list(self) -> list[Entry]:
        """Everything in the store, newest first, what cannot be read included."""
        entries = []
        paths = [path for path in self.root.iterdir() if _KEY.match(path.name)]
        names = {path.name for path in paths}
        for gone in [one for one in tuple(self._manifests) if one not in names]:
            self._manifests.pop(gone, None)  # another thread may have been quicker
        for path in paths:
            snapshot, problem, may_pass = None, "", False
            try:
                snapshot = self.get(path.name)
                if snapshot is None:
                    continue  # removed meanwhile
                created = snapshot.manifest.created
            except SnapshotError as error:
                problem, created = str(error), _mtime(path)
                may_pass = not isinstance(error, SnapshotInvalidError)
            inodes = disk_use.inodes(path)
            common = content.shared(self.root, inodes)
            entry = Entry(
                key=path.name,
                path=path,
                size_bytes=sum(inode.disk_bytes for inode in inodes.values()),
                shared_bytes=sum(inodes[number].disk_bytes for number in common),
                created=created,
                last_used=use.last(path) or created,
                in_use=use.is_pinned(path),
                snapshot=snapshot,
                problem=problem,
                may_pass=may_pass,
                inodes=inodes,
            )
            entries.append(entry)
        return sorted(entries, key=lambda entry: entry.created, reverse=True)

    def resolve(self, prefix: str) -> str:
        """The one key that begins with ``prefix`` (``sn-`` may be left out).

        Raises NotFoundError when there is none, or more than one; also for nothing, a variable
        that is not set, which would mean the only one there is.
        """
        if prefix in ("", key.KEY_PREFIX):
            raise NotFoundError(f"{prefix!r} names no snapshot; see `rekindle snapshot ls`")
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
        """Why a snapshot of these ingredients has to be made again, in words.

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
        entries = self.list()
        inodes = {number: one for entry in entries for number, one in entry.inodes.items()}
        total = sum(inode.disk_bytes for inode in inodes.values())
        return Usage(
            snapshots=len(entries),
            size_bytes=total,
            shared_bytes=sum(entry.size_bytes for entry in entries) - total,
            budget_bytes=budget.of_store(self.root),
            free_bytes=shutil.disk_usage(self.root).free,
        )

    # ---- using -----------------------------------------------------------------------------

    def touch(self, key: str) -> None:
        """Note that a snapshot is used now; nothing when it is gone. Cheap."""
        check_key(key)
        use.touch(self.root / key)

    def pin(self, key: str) -> Pin | None:
        """Keep a snapshot from being removed to make room, as long as the pin is held. Cheap.

        None when the snapshot is gone. The pin goes with this process at the latest.
        """
        check_key(key)
        return use.pin(self.root / key)

    # ---- removing --------------------------------------------------------------------------

    def remove(self, key: str) -> int:
        """Remove a snapshot, also one in use; bytes freed. Raises NotFoundError.

        Runners restored from it keep what they have mapped.
        """
        check_key(key)
        with locked(self.root):
            path = self.root / key
            if not path.is_dir():
                raise NotFoundError(f"no snapshot {key} in {self.root}")
            trash = self.to_trash(path)
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
        cannot be read goes first. ``dry_run`` reports what would go. Raises InvalidError for a bad
        budget in the environment.
        """
        limit = budget.of_store(self.root) if budget_bytes is None else budget_bytes
        if not dry_run:
            self.sweep()
        removals: _Removals = []
        staying = set(keep)
        while True:
            entries = {entry.key: entry for entry in self.list()}
            chosen = budget.to_remove(
                (_candidate(entry, staying) for entry in entries.values()), limit
            )
            for candidate in chosen:
                entry = entries[candidate.key]
                freed: int | None = entry.size_bytes - entry.shared_bytes
                if not dry_run:
                    freed = self._remove_unless_pinned(entry.key)
                if freed is None:
                    staying.add(entry.key)  # look for another one in its place
                    continue
                removals.append(Removal(entry, freed))
                if not dry_run:
                    log.info(
                        "snapshot removed to make room",
                        extra=kv(key=entry.key, function=entry.function, freed=freed),
                    )
            if dry_run or not chosen:
                return removals

    def _remove_unless_pinned(self, key: str) -> int | None:
        """Remove a snapshot, unless it is pinned: None then, else the bytes freed."""
        path = self.root / key
        with locked(self.root), use.claim(path) as free:
            if not free:
                return None
            if not path.is_dir():
                return 0  # another one was quicker
            trash = self.to_trash(path)
        return self.delete_tree(trash)

    def delete_tree(self, trash: Path) -> int:
        """Unlink what is in a draft or in the trash; bytes freed."""
        found = disk_use.inodes(trash)
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
                or (path.name.startswith(DRAFT) and _is_abandoned(path))
            ]
        for path in leftovers:
            log.info("snapshot leftover removed path=%s", path)
            self.delete_tree(path)
        if not leftovers:
            with locked(self.root):
                content.drop_unused(self.root)

    def to_trash(self, path: Path) -> Path:
        """Take a snapshot out of its place; under the lock."""
        trash = self.root / f"{_TRASH}{path.name}-{unique_suffix()}"
        os.rename(path, trash)
        return trash


def unique_suffix() -> str:
    """For names of work in progress."""
    # Random, because agents in different containers can have the same PID.
    return f"{os.getpid()}-{os.urandom(4).hex()}"


def check_key(key: str) -> None:
    """Raises NotFoundError."""
    if not _KEY.match(key):
        raise NotFoundError(f"{key!r} is no snapshot name (sn- and 20 hex digits)")


def _read_manifest(key: str, path: Path) -> Manifest:
    try:
        manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise SnapshotInvalidError(f"snapshot {key}: its manifest is not text") from None
    except SnapshotInvalidError as error:
        raise SnapshotInvalidError(f"snapshot {key}: {error}") from None
    if manifest.key != key:
        raise SnapshotInvalidError(f"snapshot {key}: its manifest is that of {manifest.key}")
    renaming.complete(path.parent, manifest)
    return manifest


def _candidate(entry: Entry, staying: set[str]) -> Candidate:
    return Candidate(
        entry.key,
        entry.last_used if entry.snapshot or entry.may_pass else 0.0,
        {number: inode.disk_bytes for number, inode in entry.inodes.items()},
        in_use=entry.in_use or entry.key in staying,
    )


def _is_abandoned(draft: Path) -> bool:
    try:
        fd = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False  # committed or removed meanwhile
    try:
        return try_lock(fd)
    finally:
        os.close(fd)


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
