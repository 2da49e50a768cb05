"""What this node puts of its snapshots into the nodes' store: each once, and again where it broke.

A snapshot goes there as one bundle of its small files and a blob for each page file. Knows nothing
of how one comes from there (stored_snapshots.py).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rekindle.blobs.index import CHUNK_BYTES
from rekindle.blobs.pushing import push_apart
from rekindle.blobs.store import BlobStore
from rekindle.exception import BlobDamagedError, SnapshotInvalidError
from rekindle.runtime.agent.starts.broken_snapshots import BrokenSnapshots
from rekindle.runtime.agent.starts.store_pushes import StorePushes
from rekindle.snapshot import carried, workingset
from rekindle.snapshot.store import Snapshot, SnapshotStore
from rekindle.snapshot.workingset import WorkingSet
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Of the names in the store.
KIND = "snapshots"
#: Keys of what the store has that are remembered at a time.
_MOST_KNOWN = 4096


@dataclass(eq=False)
class SnapshotPushes:
    """What has ``soon`` in its name, and ``close``, are for the event loop."""

    blobs: BlobStore
    snapshots: SnapshotStore
    scratch: Path
    #: Keys of what the store has, or is about to have, as far as is known.
    _known: set[str] = field(default_factory=set)
    _pushes: StorePushes = field(default_factory=lambda: StorePushes("snapshot"))
    #: Of what the first calls touch.
    _working_sets: StorePushes = field(default_factory=lambda: StorePushes("working set"))
    _stopped: bool = False

    @property
    def broken(self) -> BrokenSnapshots:
        """What of the store is of no use."""
        return BrokenSnapshots(self.snapshots.root)

    def is_there(self, key: str) -> None:
        """The store has it. It is asked again about each where too many are known."""
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.add(key)

    def is_lost(self, key: str, blobs: Sequence[str]) -> None:
        """The store has it no more as a whole: what is made in its place is to be put there.

        ``blobs``: those that are of no use; none where its name cannot be read.
        """
        self._note_broken(key, blobs)
        self._known.discard(key)

    def soon(self, snapshot: Snapshot) -> None:
        """Put a snapshot of this node into the store, in the background, unless it is there."""
        key = snapshot.key
        if key not in self._known:
            self.is_there(key)
            self._pushes.soon(key, lambda: self._push(key), lambda: self.broken.knows(key))

    def _push(self, key: str) -> None:
        pin = self.snapshots.pin(key)
        if pin is None:
            return  # removed already
        bundle = self.scratch / f"{key}.tar"
        try:
            # As it is now: it may have been made again since it was to be pushed.
            snapshot = self.snapshots.get(key)
            if snapshot is None:
                return
            there = self._there(snapshot.key)
            mends = there is not None and self.broken.has(snapshot.key, there)
            if (there is not None or self._stopped) and not mends:
                return
            started = time.monotonic()
            bundle.unlink(missing_ok=True)
            carried.bundle(snapshot, bundle)
            large = carried.large_files(snapshot)
            pushed = push_apart(
                *(self.blobs.address, [*large.values(), bundle]),
                lambda: self._pushes.cut if mends else self._stopped,
                overwrite=mends,  # its chunks may be those that are damaged there
            )
            files = {name: one.blob for name, one in zip(large, pushed, strict=False)}
            about: dict[str, Any] = {
                "files": files,
                "bundle": pushed[-1].blob,
                "bytes": sum(one.size for one in pushed),
                "app": snapshot.manifest.app,
                "function": snapshot.manifest.function,
            }
            self.blobs.put_ref(KIND, snapshot.key, [one.blob for one in pushed], about)
            self.broken.is_mended(snapshot.key)
            log.info(
                "snapshot pushed",
                extra=kv(
                    key=snapshot.key,
                    bytes=about["bytes"],
                    sent=sum(one.sent_bytes for one in pushed),
                    s=round(time.monotonic() - started, 1),
                ),
            )
        except SnapshotInvalidError as error:
            log.warning("snapshot is not to be pushed", extra=kv(key=key, reason=error))
        finally:
            bundle.unlink(missing_ok=True)
            pin.release()

    def _there(self, key: str) -> tuple[str, ...] | None:
        """What the store names for a snapshot; nothing, where that cannot be read."""
        try:
            ref = self.blobs.ref(KIND, key)
        except BlobDamagedError:
            self._note_broken(key, ())
            return ()
        return ref.blobs if ref is not None else None

    def _note_broken(self, key: str, blobs: Sequence[str]) -> None:
        try:
            self.broken.note(key, blobs)
        except OSError as error:
            log.warning("damage not noted", extra=kv(key=key, reason=error))

    def working_set_soon(self, snapshot: Snapshot) -> None:
        """Say in the store, in the background, what of a snapshot the first calls touch: what was
        found out last by then."""
        self._working_sets.soon(
            snapshot.key, lambda: self._push_working_set(snapshot), lambda: False
        )

    def _push_working_set(self, snapshot: Snapshot) -> None:
        ref = self.blobs.ref(KIND, snapshot.key)
        if ref is None:
            return
        found = workingset.load(snapshot.path)
        for name, blob in ref.about["files"].items():
            if chunks := chunks_of(found, name):
                self.blobs.put_hint(blob, chunks)

    def stop(self) -> None:
        """Begin nothing more, and leave what is under way, but for what mends the store."""
        self._stopped = True

    async def close(self) -> None:
        """Give up what is on its way: it is taken up again. What is to take the place of damage in
        the store may still be put there: who ends may be the only one that met it."""
        self.stop()
        await asyncio.gather(self._pushes.close(), self._working_sets.close())


def chunks_of(found: WorkingSet | None, name: str) -> list[int] | None:
    """The chunks in which a file's working set lies; None where none is known."""
    if found is None or name not in found.ranges:
        return None
    numbers: dict[int, None] = {}
    for offset, length in found.ranges[name]:
        last = (offset + max(length, 1) - 1) // CHUNK_BYTES
        numbers.update(dict.fromkeys(range(offset // CHUNK_BYTES, last + 1)))
    return list(numbers)
