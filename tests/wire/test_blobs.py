"""The blob store: what is put is got, whole, private, or an error says what is wrong with it."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from rekindle.exception import InternalFailure, InvalidError, ServiceError, SetupError
from rekindle.wire import blobs
from rekindle.wire.blobs import BlobStore, FolderStore, new_key, open_store

CALL = "fc-0123456789abcdefABCDEF"
INSTANCE = "in-0123456789abcdef"


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "folder":
        return open_store(str(tmp_path / "blobs"))
    return open_store(f"memory://{tmp_path}/blobs")


def test_what_is_put_is_got_until_it_is_deleted(store: BlobStore) -> None:
    one, two = b"x" * 3_000_000, b""
    keys = [new_key(CALL, 0, one), new_key(CALL, 1, two)]
    store.put(keys[0], one)
    store.put(keys[1], two)
    store.put(keys[0], one)  # a request is sent twice where its answer was lost
    assert [store.get(key) for key in keys] == [one, two]
    store.delete(keys[0])
    store.delete(keys[0])
    with pytest.raises(InternalFailure, match=rf"{keys[0]} is not in .*blobs.*REKINDLE_BLOB_URL"):
        store.get(keys[0])
    assert store.get(keys[1]) == two


def test_old_ones_are_listed(store: BlobStore) -> None:
    assert list(store.older_than(0)) == []
    keys = {new_key(CALL, i, b"data") for i in range(3)}
    for key in keys:
        store.put(key, b"data")
    assert set(store.older_than(-60)) == keys
    assert list(store.older_than(3600)) == []


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_instances_with_one_url_see_their_own_and_read_what_was_there_before(
    tmp_path: Path, scheme: str
) -> None:
    environ = {"REKINDLE_BLOB_URL": f"{scheme}{tmp_path}/shared"}
    one, other = (
        open_store(blobs.store_url(tmp_path, name, environ))
        for name in (INSTANCE, "in-fedcba9876543210")
    )
    keys = [new_key(CALL, i, b"data") for i in range(3)]
    one.put(keys[0], b"data")
    other.put(keys[1], b"data")
    open_store(environ["REKINDLE_BLOB_URL"]).put(keys[2], b"data")  # as it was done formerly
    assert list(one.older_than(-60)) == list(one.of_call(CALL)) == [keys[0]]
    assert one.get(keys[2]) == other.get(keys[2]) == b"data"
    with pytest.raises(InternalFailure, match=rf"{keys[1]} is not in .*{INSTANCE}"):
        one.get(keys[1])
    one.delete(keys[1])
    assert other.get(keys[1]) == b"data"


def test_a_damaged_or_truncated_blob_is_named(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    key = new_key(CALL, 0, b"right")
    store.put(key, b"right")
    (tmp_path / key).write_bytes(b"wrong")
    with pytest.raises(InternalFailure, match=rf"{key} in file://.* is damaged"):
        store.get(key)
    (tmp_path / key).write_bytes(b"righ")
    with pytest.raises(InternalFailure, match=rf"{key} in .* has 4 bytes of 5"):
        store.get(key)


def test_a_folder_is_private_and_left_empty(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "blobs")
    key = new_key(CALL, 0, b"x")
    previous = os.umask(0)
    try:
        store.put(key, b"x")
    finally:
        os.umask(previous)
    for path in (store.root, store.root / CALL):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((store.root / key).stat().st_mode) == 0o600
    store.delete(key)
    assert not (store.root / CALL).exists()
    assert not list((store.root / "drafts").iterdir())


def test_writing_and_deleting_beside_each_other_lose_nothing(tmp_path: Path) -> None:
    """The folder of a call goes with its last blob, while the next one is written."""
    store = FolderStore(tmp_path)
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            for _ in range(50):
                key = new_key(CALL, index, b"x")
                store.put(key, b"x")
                assert store.get(key) == b"x"
                store.delete(key)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def test_what_a_killed_writer_left_goes_with_time(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put(new_key(CALL, 0, b"x"), b"x")
    draft = tmp_path / "drafts" / "left"
    draft.write_bytes(b"half")
    os.utime(draft, (0, 0))
    assert list(store.older_than(3600)) == []
    assert not draft.exists()


@pytest.mark.parametrize(
    "key", ["", "../token", f"{CALL}/../../token", f"{CALL}/0", "/etc/passwd", f"{CALL}/0-1-1-1\n"]
)
def test_what_is_no_key_is_refused(store: BlobStore, key: str) -> None:
    for use in (store.get, store.delete, lambda key: store.put(key, b""), blobs.size_of):
        with pytest.raises(InvalidError, match="is not the key of a blob"):
            use(key)


def test_a_key_tells_the_size() -> None:
    assert blobs.size_of(new_key(CALL, 5, b"12345")) == 5


def full_disk(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)


def no_folder(store: FolderStore, _: pytest.MonkeyPatch) -> None:
    store.root.parent.mkdir(parents=True, exist_ok=True)
    store.root.write_text("a file is where the folder should be")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(full_disk, "No space left on device"), (no_folder, "Not a directory|File exists")],
)
def test_a_store_that_is_broken_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[FolderStore, pytest.MonkeyPatch], None],
    words: str,
) -> None:
    store = FolderStore(tmp_path / "blobs")
    spoil(store, monkeypatch)
    key = new_key(CALL, 0, b"x")
    with pytest.raises(ServiceError, match=rf"cannot take 1 bytes \(({words})\).*make room"):
        store.put(key, b"x")
    monkeypatch.undo()
    assert not (tmp_path / "blobs" / key).exists()
    if spoil is full_disk:
        assert not list((tmp_path / "blobs" / "drafts").iterdir())
    else:
        with pytest.raises(ServiceError, match="cannot be read"):
            store.get(key)


def test_a_backend_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def down(*_: object, **__: object) -> None:
        raise RuntimeError("connection reset")

    store = open_store("memory://broken")
    for method in ("pipe_file", "cat_file", "rm_file", "find"):
        monkeypatch.setattr(MemoryFileSystem, method, down)
    key = new_key(CALL, 0, b"x")
    for use in (
        lambda: store.put(key, b"x"),
        lambda: store.get(key),
        lambda: store.delete(key),
        lambda: list(store.older_than(0)),
    ):
        with pytest.raises(ServiceError, match=r"memory://broken could not.*connection reset"):
            use()


def test_the_password_of_a_store_is_in_no_message() -> None:
    store = open_store("memory://someone:swordfish@host/store")
    key = new_key(CALL, 0, b"x")
    store.put(key, b"x")
    assert store.get(key) == b"x"
    store.delete(key)
    with pytest.raises(InternalFailure, match=r"memory://someone:\*\*\*@host/store"):
        store.get(key)
    with pytest.raises(InvalidError, match=r"nosuchthing://someone:\*\*\*@host"):
        open_store("nosuchthing://someone:swordfish@host/store")


def test_what_has_to_be_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(SetupError, match=r"needs fsspec: pip install 'rekindle\[blobs\]'"):
        open_store("memory://not-installed")


@pytest.mark.parametrize("url", ["relative/path", "file://host/path", "nosuchthing://x"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidError, match="blob store"):
        open_store(url)


def test_where_the_store_is_and_what_goes_there(tmp_path: Path) -> None:
    assert blobs.store_url(tmp_path, INSTANCE, {}) == f"file://{tmp_path}/blobs"
    named = {"REKINDLE_BLOB_URL": "s3://bucket/x/"}
    assert blobs.store_url(tmp_path, INSTANCE, named) == f"s3://bucket/x/{INSTANCE}"
    assert blobs.threshold_bytes({}) == blobs.DEFAULT_THRESHOLD_BYTES
    assert blobs.threshold_bytes({"REKINDLE_BLOB_THRESHOLD_BYTES": "0"}) == 0
    for wrong in ("-1", "1M", "1.5", "9" * 20):
        with pytest.raises(InvalidError, match="REKINDLE_BLOB_THRESHOLD_BYTES"):
            blobs.threshold_bytes({"REKINDLE_BLOB_THRESHOLD_BYTES": wrong})
