"""A real server of S3 as the store: what was put comes back, and what nothing names goes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.blobs import collect, reach, transfer, waiting
from rekindle.blobs.objects import open_objects
from rekindle.blobs.store import BlobStore, Patience
from rekindle.exception import BlobStoreError
from tests import s3_server
from tests.blobs.conftest import StartLazy
from tests.blobs.machine import needs_fuse
from tests.optional import needs

pytestmark = needs("s3fs")
_CHUNK = 1 << 18
#: By the URLs of their buckets.
_SERVERS: dict[str, subprocess.Popen[bytes]] = {}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a bucket of a server on this machine."""
    with s3_server.serving(tmp_path_factory.mktemp("s3")) as server:
        _SERVERS["s3://bucket/rekindle"] = server
        yield "s3://bucket/rekindle"


def test_blobs_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    store = BlobStore(open_objects(bucket))
    data = os.urandom(12 * _CHUNK + 5) + bytes(4 * _CHUNK)
    (tmp_path / "file").write_bytes(data)
    pushed = transfer.push(store, tmp_path / "file", chunk_bytes=_CHUNK)
    assert transfer.push(store, tmp_path / "file", chunk_bytes=_CHUNK).sent_bytes == 0
    transfer.fetch(store, pushed.blob, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    store.put_ref("snapshots", "sn-1", [pushed.blob], {"app": "a"})
    store.put_hint(pushed.blob, [3])
    assert [(ref.name, ref.blobs) for ref in store.refs()] == [("sn-1", (pushed.blob,))]
    used = collect.usage(store)
    assert used.named[0].is_whole and used.named[0].size == len(data)
    # By the server's clock everything is young.
    assert collect.collect(store, grace_s=-60).objects == 0
    store.delete_ref("snapshots", "sn-1")
    assert list(store.refs()) == []
    collect.collect(store, grace_s=-60)
    assert collect.usage(store).stored_bytes == 0


@needs_fuse
def test_a_lazy_file_from_a_bucket(bucket: str, tmp_path: Path, start_lazy: StartLazy) -> None:
    data = os.urandom(20 * _CHUNK)
    (tmp_path / "file").write_bytes(data)
    store = BlobStore(open_objects(bucket))
    blob = transfer.push(store, tmp_path / "file", chunk_bytes=_CHUNK).blob
    assert start_lazy(bucket).open(blob).read_bytes() == data


def test_a_server_that_stalls_is_waited_for_as_long_as_is_set(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its parts ask one another, and may not have met again at once when it goes on.
    store = BlobStore(open_objects(bucket), Patience(attempts=40))
    assert store.ref("layers", "none") is None
    monkeypatch.setenv(waiting.VARIABLE, "0.5")
    _SERVERS[bucket].send_signal(signal.SIGSTOP)
    try:
        # Not what its client says, which waits for longer.
        with pytest.raises(BlobStoreError, match=f"{bucket} did not answer within 0.5 s"):
            reach.answer(store)
    finally:
        _SERVERS[bucket].send_signal(signal.SIGCONT)
    assert store.ref("layers", "none") is None


def test_a_server_that_is_not_there_is_named() -> None:
    with s3_server.away():
        store = BlobStore(open_objects("s3://other/rekindle"), Patience(attempts=1))
        with pytest.raises(BlobStoreError, match="s3://other/rekindle"):
            store.ref("snapshots", "sn-1")


def test_a_bucket_that_is_not_there_yet_is_told_from_one_with_nothing_in_it(bucket: str) -> None:
    assert not reach.is_there(BlobStore(open_objects("s3://nobody-made-it/rekindle")))
    assert reach.is_there(BlobStore(open_objects("s3://bucket/nothing-yet")))
    reach.keep(BlobStore(open_objects(bucket)))
