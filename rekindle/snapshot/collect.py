"""Making room in a store: which snapshots go, and seeing them off."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from rekindle.snapshot import budget
from rekindle.snapshot.budget import Candidate
from rekindle.snapshot.entry import Entry, Removal
from rekindle.wire.logs import kv

if TYPE_CHECKING:
    from rekindle.snapshot.store import SnapshotStore

log = logging.getLogger(__name__)


def collect(
    store: SnapshotStore, limit: int, *, dry_run: bool, keep: Collection[str]
) -> list[Removal]:
    """Remove snapshots until ``limit`` bytes are kept; those that went, or would go."""
    removals: list[Removal] = []
    staying = set(keep)
    while True:
        scanned = store.scan()
        chosen = budget.to_remove(
            (
                Candidate(
                    entry.key,
                    entry.last_used if entry.snapshot else 0.0,
                    {number: inode.disk_bytes for number, inode in found.items()},
                    in_use=entry.in_use or entry.key in staying,
                )
                for entry, found in scanned
            ),
            limit,
        )
        entries = {entry.key: entry for entry, _found in scanned}
        for candidate in chosen:
            entry = entries[candidate.key]
            if dry_run:
                removals.append(_removal(entry, entry.size_bytes - entry.shared_bytes))
                continue
            freed = store.remove_unless_pinned(candidate.key)
            if freed is None:
                staying.add(candidate.key)  # look for another one in its place
                continue
            removals.append(_removal(entry, freed))
            log.info(
                "snapshot removed to make room",
                extra=kv(key=entry.key, function=removals[-1].function, freed=freed),
            )
        if dry_run or not chosen:
            return removals


def _removal(entry: Entry, freed: int) -> Removal:
    manifest = entry.snapshot.manifest if entry.snapshot else None
    return Removal(
        key=entry.key,
        app=manifest.app if manifest else "",
        function=manifest.function if manifest else "",
        freed_bytes=freed,
        last_used=entry.last_used,
    )
