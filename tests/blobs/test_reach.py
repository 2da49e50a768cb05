"""Stores that can be used, and those that cannot: what is said before anything needs one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from rekindle.blobs import reach
from rekindle.blobs.objects import open_objects
from rekindle.blobs.store import BlobStore, Patience, open_store
from rekindle.exception import BlobStoreError, InvalidError


def _store(url: str) -> BlobStore:
    return BlobStore(open_objects(url), Patience(attempts=1))


def _refusing() -> int:
    """A port where nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_store_that_keeps_what_it_is_given_passes_and_nothing_of_it_stays(
    kind: str, tmp_path: Path
) -> None:
    url = (tmp_path / "s").as_uri() if kind == "file" else f"memory://{os.urandom(4).hex()}/s"
    store = _store(url)
    assert not reach.is_there(store)
    reach.answer(store)
    reach.keep(store)
    assert reach.is_there(store)
    assert list(store.objects.list("probes")) == []


def test_a_store_where_nothing_can_be_kept_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = _store((tmp_path / "file" / "s").as_uri())
    with pytest.raises(BlobStoreError, match=str(tmp_path / "file" / "s")):
        reach.keep(store)


def test_nothing_of_it_stays_where_it_cannot_be_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _store((tmp_path / "s").as_uri())
    get = store.objects.get

    def unreadable(name: str) -> bytes | None:
        if (found := get(name)) is not None:
            raise BlobStoreError("may be written to, and not read")
        return found

    monkeypatch.setattr(store.objects, "get", unreadable)
    with pytest.raises(BlobStoreError, match="and not read"):
        reach.keep(store)
    assert list(store.objects.list("probes")) == []


@pytest.mark.parametrize("url", ["s3://", "s3:///", "memory://"])
def test_a_url_that_names_no_place_is_refused(url: str) -> None:
    with pytest.raises(InvalidError, match="names no place"):
        open_objects(url)


@pytest.mark.parametrize("url", ["s3:/bucket", "s3:bucket", "GS:/bucket/folder"])
def test_a_url_without_its_slashes_is_not_taken_for_a_folder(url: str) -> None:
    with pytest.raises(InvalidError, match=f"{url} cannot be used: write (s3|gs|GS)://"):
        open_objects(url)
    assert not os.path.exists(url.partition("/")[0])


def test_the_memory_of_one_process_is_no_store_that_nodes_share() -> None:
    with pytest.raises(InvalidError, match="'memory://x' is the memory of one process"):
        open_store("memory://x")


@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_a_server_that_is_not_there_yet_is_an_error_of_each_request_and_not_of_the_opening(
    scheme: str,
) -> None:
    if scheme == "http":
        pytest.importorskip("aiohttp")
    url = f"{scheme}://127.0.0.1:{_refusing()}/s"
    store = _store(url)
    for ask in (reach.answer, reach.is_there, reach.keep):
        with pytest.raises(BlobStoreError, match=url):
            ask(store)
