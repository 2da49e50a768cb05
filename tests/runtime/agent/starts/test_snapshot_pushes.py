"""What a node puts of its snapshots into the nodes' store."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from rekindle.blobs.store import open_store
from rekindle.runtime.agent.starts.snapshot_pushes import KIND, SnapshotPushes
from rekindle.runtime.agent.starts.stored_snapshots import StoredSnapshots
from rekindle.snapshot.store import SnapshotStore
from tests.snapshot.conftest import commit


def test_what_was_damaged_in_the_store_since_it_was_put_there_is_mended_by_what_is_made_next(
    tmp_path: Path,
) -> None:
    blobs, snapshots = open_store((tmp_path / "store").as_uri()), SnapshotStore(tmp_path / "own")
    scratch = tmp_path / "arriving"
    scratch.mkdir()

    async def scenario() -> None:
        pushes = SnapshotPushes(blobs, snapshots, scratch)
        stored = StoredSnapshots(blobs, snapshots, scratch, None, pushes)
        first = commit(snapshots)
        key = first.key
        pushes.soon(first)
        while blobs.ref(KIND, key) is None:
            await asyncio.sleep(0.01)
        while snapshots.remove(key) is None:  # it is pinned for as long as it is pushed
            await asyncio.sleep(0.01)
        shutil.rmtree(tmp_path / "store" / "chunks")
        assert stored.find(key) is None and pushes.broken.knows(key)
        pushes.soon(commit(snapshots))
        await stored.close()
        assert not pushes.broken.knows(key)
        snapshots.remove(key)
        assert stored.find(key) is not None

    asyncio.run(scenario())
