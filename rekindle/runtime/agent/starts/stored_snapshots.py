"""Snapshots of other nodes, from the nodes' store: started before all of them is here.

A snapshot that this node lacks is looked for in the store. Its small files are fetched, its page
files are lazy ones, so it can be restored at once; what the first calls are known to touch comes
first, then the rest, and when all is here it moves into the node's own store of snapshots. Without
FUSE everything is fetched first. What this node puts there: snapshot_pushes.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

from rekindle.background_tasks import BackgroundTasks
from rekindle.blobs import transfer, waiting
from rekindle.blobs.lazy.client import LazyFiles, Settings
from rekindle.blobs.store import BlobStore, Patience, Ref, open_store
from rekindle.exception import (
    BlobDamagedError,
    BlobError,
    BlobNotFoundError,
    BlobRoomError,
    Error,
    InvalidError,
    SetupError,
    SnapshotError,
    SnapshotInvalidError,
)
from rekindle.runtime.agent.starts.snapshot_pushes import KIND, SnapshotPushes, chunks_of
from rekindle.snapshot import carried, draft, use, workingset
from rekindle.snapshot.manifest import Manifest
from rekindle.snapshot.store import Snapshot, SnapshotStore
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: In the agent's directory: where lazy files are seen.
MOUNT = "blobs"
_BUNDLE = "bundle.tar"
#: How often it is looked whether what has arrived is still used from where it was on its way.
_STILL_WANTED_S = 5.0


@dataclass(frozen=True)
class LazySettings:
    """Of the store, and of what arrives from it."""

    url: str
    folder: Path  # on the file system of the snapshots
    budget_bytes: int
    wait_s: float


@dataclass(eq=False)
class Arriving:
    """A snapshot that can be restored, and is not all here: page file in it -> blob."""

    snapshot: Snapshot
    blobs: dict[str, str]
    #: All that the store names for it.
    named: tuple[str, ...]
    #: Who is told that it has arrived, or why it never will.
    waiting: list[tuple[Callable[[Snapshot], None], Callable[[str], None]]] = field(
        default_factory=list
    )
    #: Whether its rest is being fetched.
    is_coming: bool = False
    #: As it lies in the node's own store; None until it has arrived.
    here: Snapshot | None = None


@dataclass(eq=False)
class StoredSnapshots:
    """See the module. ``find`` and what it uses block; the rest is for the event loop."""

    blobs: BlobStore
    snapshots: SnapshotStore
    scratch: Path
    #: None where snapshots are fetched whole before they are used.
    lazy: LazyFiles | None
    pushes: SnapshotPushes
    #: For so long it is waited for the store to say whether it has one.
    wait_s: float = field(default_factory=waiting.wait_s)
    #: By the directory of the snapshot.
    arriving: dict[Path, Arriving] = field(default_factory=dict)
    _tasks: BackgroundTasks = field(default_factory=BackgroundTasks)
    #: While one is looked for: who comes then waits for it.
    _finding: WeakValueDictionary[str, threading.Lock] = field(default_factory=WeakValueDictionary)
    #: Blob -> how many of those that arrive are read from it.
    _held: Counter[str] = field(default_factory=Counter)
    _holding: threading.Lock = field(default_factory=threading.Lock)
    _closing: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def open(
        cls, settings: LazySettings, snapshots: SnapshotStore, scratch: Path
    ) -> StoredSnapshots:
        """Connect, and mount lazy files where this machine can. Raises InvalidError, Error.

        To be called before the spawner is there: what is mounted later its sandboxes do not see.
        """
        lazy = None
        try:
            blobs = open_store(settings.url)
        except SetupError as error:  # what an operator asked for, and this node cannot do
            raise InvalidError(f"REKINDLE_STORE_URL: {error}") from error
        try:
            if not settings.budget_bytes:
                raise SetupError("REKINDLE_LAZY_BYTES is 0")
            lazy = LazyFiles.start(
                Settings(
                    settings.url,
                    str(scratch / MOUNT),
                    str(settings.folder),
                    settings.budget_bytes,
                    settings.wait_s,
                )
            )
        except SetupError as error:
            log.warning("snapshots are fetched whole before they are used", extra=kv(reason=error))
        arriving = scratch / "arriving"
        arriving.mkdir(mode=0o700)
        pushes = SnapshotPushes(blobs, snapshots, arriving)
        return cls(blobs, snapshots, arriving, lazy, pushes, settings.wait_s)

    # ---- finding -------------------------------------------------------------------------------

    def find(self, key: str) -> Snapshot | None:
        """The snapshot of that name, ready to be restored; None where the store has none.

        A store that does not answer, or that has it damaged, is logged: another one can be made.
        """
        # A start waits for this, so it is not asked for long whether there is one.
        quick = BlobStore(self.blobs.objects, Patience(attempts=2))
        with self._holding:
            finding = self._finding.setdefault(key, threading.Lock())
        with finding:
            if (known := self._known_here(key)) is not None:
                return known
            ref = None
            try:
                ref = waiting.ask(lambda: quick.ref(KIND, key), url=quick.url, seconds=self.wait_s)
                if ref is None:
                    return None
                started = time.monotonic()
                snapshot = self._bring(ref)
            except (Error, OSError, KeyError) as error:
                if isinstance(error, BlobNotFoundError | BlobDamagedError | SnapshotInvalidError):
                    self.pushes.is_lost(key, ref.blobs if ref is not None else ())
                log.warning("no snapshot from the store", extra=kv(key=key, reason=error))
                return None
            self.pushes.is_there(key)
            log.info(
                "snapshot from the store",
                extra=kv(key=key, lazy=self.lazy is not None, s=time.monotonic() - started),
            )
            return snapshot

    def _known_here(self, key: str) -> Snapshot | None:
        """What was found before, and can be read: others start from it, and the store may be away
        by now."""
        found = [one for one in list(self.arriving.values()) if one.snapshot.key == key]
        if any(one.here is not None for one in found) and (here := self.snapshots.get(key)):
            return here  # it has arrived just now
        coming = (one for one in found if one.here is None and not self._why_lost(one))
        return next((one.snapshot for one in coming), None)

    def _bring(self, ref: Ref) -> Snapshot:
        if self.lazy is not None:
            try:
                return self._bring_lazily(ref, self.lazy)
            except BlobRoomError as error:
                log.warning("snapshot is fetched whole", extra=kv(key=ref.name, reason=error))
        with contextlib.ExitStack() as cleanup:
            size = int(ref.about["bytes"])
            made = draft.begin(self.snapshots, ref.name, needs_bytes=size)
            cleanup.callback(made.discard)
            manifest = self._unbundle(ref, made.path)
            for name, blob in ref.about["files"].items():
                _check(name, manifest)
                transfer.fetch(self.blobs, blob, made.path / name, mode=0o400)
            return made.adopt(manifest)

    def _bring_lazily(self, ref: Ref, lazy: LazyFiles) -> Snapshot:
        # Of its own: what was found under this name before, others may read.
        directory = Path(tempfile.mkdtemp(dir=self.scratch)) / ref.name
        directory.mkdir(mode=0o700)
        held: list[str] = []
        try:
            manifest = self._unbundle(ref, directory)
            ranges = workingset.load(directory)
            for name, blob in ref.about["files"].items():
                _check(name, manifest)
                self._hold(blob)
                held.append(blob)
                os.symlink(lazy.open(blob, chunks_of(ranges, name)), directory / name)
            carried.put_together(directory, directory, manifest)
            carried.trust(directory, manifest)
        except BaseException:
            self._let_go(held, directory)
            raise
        snapshot = Snapshot(ref.name, directory, manifest)
        self.arriving[directory] = Arriving(snapshot, dict(ref.about["files"]), ref.blobs)
        return snapshot

    def _hold(self, blob: str) -> None:
        with self._holding:
            self._held[blob] += 1

    def _let_go(self, blobs: Iterable[str], directory: Path) -> None:
        """Give up what nobody else reads of what is seen in a directory, and that. Blocks."""
        assert self.lazy is not None
        for blob in blobs:
            with self._holding, contextlib.suppress(BlobError):  # its process has just ended
                self._held[blob] -= 1
                if not self._held[blob]:
                    del self._held[blob]
                    self.lazy.give_up(blob)
        shutil.rmtree(directory.parent, ignore_errors=True)

    def _unbundle(self, ref: Ref, directory: Path) -> Manifest:
        archive = directory / _BUNDLE
        transfer.fetch(self.blobs, ref.about["bundle"], archive)
        manifest = carried.unbundle(archive, directory)
        archive.unlink()
        if manifest.key != ref.name:
            raise SnapshotInvalidError(f"the store has snapshot {manifest.key} as {ref.name}")
        return manifest

    def why_lost(self, snapshot: Snapshot | None) -> str:
        """Why a part of a snapshot could not be read; "" where all of it could."""
        known = self.arriving.get(snapshot.path) if snapshot is not None else None
        if known is None or self.lazy is None:
            return ""
        why = self._why_lost(known)
        if why and not self.lazy.ended:
            self.pushes.is_lost(known.snapshot.key, known.named)
        return why

    def _why_lost(self, one: Arriving) -> str:
        assert self.lazy is not None
        failures = self.lazy.failures
        found = (failures[blob] for blob in one.blobs.values() if blob in failures)
        return self.lazy.ended or next(found, "")

    # ---- arriving ------------------------------------------------------------------------------

    def is_arriving(self, snapshot: Snapshot) -> bool:
        """Whether a snapshot lies here for as long as it is on its way."""
        return snapshot.path in self.arriving

    def complete_soon(
        self, snapshot: Snapshot, done: Callable[[Snapshot], None], lost: Callable[[str], None]
    ) -> None:
        """Have the rest fetched, in the background; ``done`` gets it from the node's own store.

        ``lost`` is told why the store will never have all of it; not before nobody uses it, as
        what is not lost can be read. What is being fetched is not fetched twice; where that failed,
        it is tried again.
        """
        one = self.arriving[snapshot.path]
        if one.here is not None:
            done(one.here)
            return
        one.waiting.append((done, lost))
        if not one.is_coming:
            one.is_coming = True
            self._tasks.spawn(self._complete(one))

    async def _complete(self, one: Arriving) -> None:
        assert self.lazy is not None
        try:
            # In its own thread each, as a process that does not answer must not keep the loop.
            for blob in one.blobs.values():
                future = await asyncio.to_thread(self.lazy.rest, blob)
                await asyncio.wrap_future(future)
            one.here = await asyncio.to_thread(self._move_in, one)
        except (BlobError, SnapshotError, OSError) as error:
            log.warning("snapshot did not arrive", extra=kv(key=one.snapshot.key, reason=error))
            if not isinstance(error, BlobNotFoundError | BlobDamagedError):
                one.is_coming = False
                return
            self.pushes.is_lost(one.snapshot.key, one.named)
            await self._until_unused(one)
            for _done, lost in one.waiting:
                lost(str(error))
        except Exception:
            log.exception("internal error", extra=kv(key=one.snapshot.key))
            one.is_coming = False  # the next look tries again
            return
        else:
            log.info("snapshot has arrived", extra=kv(key=one.here.key))
            for done, _lost in one.waiting:
                done(one.here)
            await self._until_unused(one)
        del self.arriving[one.snapshot.path]
        await asyncio.to_thread(self._let_go, one.blobs.values(), one.snapshot.path)

    async def _until_unused(self, one: Arriving) -> None:
        """A start that had found it here may be about to map it, and what was started has it."""
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _STILL_WANTED_S)
            if not use.is_pinned(one.snapshot.path):
                return

    def _move_in(self, one: Arriving) -> Snapshot:
        assert self.lazy is not None
        made = draft.begin(self.snapshots, one.snapshot.key)
        try:
            source = one.snapshot.path
            (made.path / "mapped").mkdir(mode=0o700)
            for name in one.snapshot.manifest.content:
                if name in one.blobs:
                    self.lazy.place(one.blobs[name], made.path / name)
                else:
                    shutil.copy2(source / name, made.path / name)
            if (source / workingset.NAME).exists():
                shutil.copy2(source / workingset.NAME, made.path / workingset.NAME)
            return made.adopt(Manifest.from_json((source / "manifest.json").read_text()))
        finally:
            made.discard()

    # ---- life ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """Give up what is on its way, in either direction: both are taken up again."""
        self._closing.set()
        self.pushes.stop()
        if self.lazy is not None:
            await asyncio.to_thread(self.lazy.close)  # what waits for it ends with an error
        await self.pushes.close()
        await self._tasks.finish()


def _check(name: str, manifest: Manifest) -> None:
    """Names from the store become paths. Raises SnapshotInvalidError."""
    if name not in manifest.content:
        raise SnapshotInvalidError(f"the store names a file {name!r} that is not the snapshot's")
