"""Files put into a store by a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rekindle.blobs import transfer
from rekindle.blobs.pushing import push_apart
from rekindle.blobs.store import BlobStore
from rekindle.exception import BlobStoreError


def test_it_puts_what_it_is_given_and_ends_well(store: BlobStore, tmp_path: Path) -> None:
    files = []
    for number in range(3):
        files.append(tmp_path / f"file-{number}")
        files[-1].write_bytes(os.urandom(100_000 * (number + 1)))
    for _ in range(3):
        pushed = push_apart(store.url, files)
        assert [one.size for one in pushed] == [100_000, 200_000, 300_000]
    transfer.fetch(store, pushed[1].blob, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == files[1].read_bytes()


def test_what_goes_wrong_is_said_and_it_can_be_given_up(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(BlobStoreError, match="no-such-file"):
        push_apart(store.url, [tmp_path / "no-such-file"])
    (tmp_path / "file").write_bytes(os.urandom(100))
    os.mkfifo(tmp_path / "never")
    with pytest.raises(BlobStoreError, match="given up"):
        push_apart(store.url, [tmp_path / "never"], lambda: True)
