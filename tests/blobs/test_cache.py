"""What lazy files take of the disk, looked at from outside of the process that has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab import unwell
from lab.unwell import Conduct
from rekindle.blobs import transfer
from rekindle.blobs.lazy import cache
from rekindle.blobs.lazy.cache import LazyCache
from rekindle.blobs.objects import FsspecObjects
from rekindle.blobs.sparse import SparseFile
from rekindle.blobs.store import BlobStore
from rekindle.exception import BlobStoreError

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


@pytest.mark.usefixtures("unwell_urls")
def test_who_opens_a_blob_of_a_store_that_says_nothing_has_an_error_and_its_hint_is_none(
    tmp_path: Path,
) -> None:
    folder, path = tmp_path / "ill", tmp_path / "file"
    folder.mkdir()
    path.write_bytes(os.urandom(_CHUNK))
    ill = BlobStore(FsspecObjects(unwell.url(folder)))
    blob = transfer.push(ill, path, chunk_bytes=_CHUNK).blob
    ill.put_hint(blob, [0])
    lazy = LazyCache(
        *(tmp_path / "lazy", ill), budget_bytes=1 << 20, wait_s=0.1, lost=lambda *_: None
    )
    try:
        Conduct(stalled=True).begin(folder)
        with pytest.raises(BlobStoreError, match=r"did not answer within 0\.1 s"):
            lazy.open(blob)
        assert lazy.hint(blob) == []
        Conduct().begin(folder)
        assert lazy.open(blob).index.size == _CHUNK and lazy.hint(blob) == [0]
    finally:
        Conduct().begin(folder)
        lazy.close()
