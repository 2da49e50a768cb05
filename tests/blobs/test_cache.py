"""What lazy files take of the disk, looked at from outside of the process that has them."""

from __future__ import annotations

import os
from pathlib import Path

from rekindle.blobs import transfer
from rekindle.blobs.lazy import cache
from rekindle.blobs.sparse import SparseFile
from rekindle.blobs.store import BlobStore

_CHUNK = 1 << 16


def test_what_has_arrived_is_what_all_processes_have_of_a_blob(
    store: BlobStore, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(8 * _CHUNK))
    blob = transfer.push(store, path, chunk_bytes=_CHUNK).blob
    root = tmp_path / "lazy"
    assert cache.arrived_bytes(root, blob) == 0
    for number, chunks in enumerate((1, 2)):
        sparse = SparseFile.open(root / f"{blob}-{number}", blob, store.index(blob))
        for chunk in range(chunks):
            sparse.write(chunk, os.urandom(_CHUNK))
        sparse.close()
    (root / f"{blob}-2").mkdir()  # one that is just begun, or removed
    assert cache.arrived_bytes(root, blob) == 3 * _CHUNK
    assert cache.arrived_bytes(root, "another") == 0
