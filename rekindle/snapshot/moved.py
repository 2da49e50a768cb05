"""A snapshot whose store was moved, or copied to another place: mapped again where it lies now.

Mapped images name the page files by path. Without this it would be restored by copying for ever, as
it fits. Knows nothing of who restores.
"""

from __future__ import annotations

import dataclasses
import logging

from rekindle.exception import CriuNotFoundError, SnapshotError
from rekindle.snapshot import carried, files, stamp, use
from rekindle.snapshot.entry import Snapshot
from rekindle.snapshot.files import locked
from rekindle.snapshot.store import SnapshotStore
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


def named_here(store: SnapshotStore, snapshot: Snapshot) -> Snapshot:
    """The snapshot with mapped images that name its page files where they are; blocks.

    The same one where nothing was moved, and where it is just being restored or cannot be written:
    it is restored by copying then.
    """
    if snapshot.is_mapped or not snapshot.manifest.mapping:
        return snapshot
    try:
        with locked(store.root), use.claim(snapshot.path) as free:
            found = store.get(snapshot.key)
            if found is None or found.is_mapped or not free:
                return found or snapshot
            _name_anew(found)
        found = store.get(snapshot.key)
    except (OSError, SnapshotError, CriuNotFoundError) as error:
        log.warning("moved snapshot is not mapped", extra=kv(key=snapshot.key, reason=error))
        return snapshot
    log.info("moved snapshot is mapped again", extra=kv(key=snapshot.key))
    return found or snapshot


def _name_anew(snapshot: Snapshot) -> None:
    path = snapshot.path
    before = stamp.read(path)
    whole = before.covers(stamp.look(path, snapshot.manifest.content))
    manifest = dataclasses.replace(snapshot.manifest)  # the store keeps the one that was read
    carried.name_page_files(path, path, manifest)
    carried.write_manifest(path, manifest)  # killed before it: as it was; within it: moved
    if whole:
        stamp.write(path, stamp.look(path, manifest.content), verified=before.verified)
    files.sync_directory(path)
