"""Sharing: one content is one file, and what happens to one holder is nothing to the others."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from rekindle.snapshot import content, files, stamp, validate
from rekindle.snapshot.criu import Criu
from rekindle.snapshot.draft import begin
from rekindle.snapshot.store import Snapshot, SnapshotStore
from tests import unlistable
from tests.sealed import unsealed
from tests.snapshot import sandbox
from tests.snapshot.conftest import CommitReal, ingredients, manifest

_PAGES = os.urandom(content.LARGE_BYTES)


def _commit(store: SnapshotStore, name: str, pages: bytes = _PAGES) -> Snapshot:
    made_from = ingredients(code_digest=name)
    draft = begin(store, made_from.key())
    (draft.images / "inventory.img").write_bytes(b"inventory")
    (draft.images / "pages-1.img").write_bytes(pages)
    return draft.commit(manifest(made_from))


def _inode(snapshot: Snapshot) -> int:
    return (snapshot.images / "pages-1.img").stat().st_ino


def _kept(store: SnapshotStore) -> list[Path]:
    directory = store.root / content.DIRECTORY
    return sorted(directory.iterdir()) if directory.exists() else []


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that are read as a whole."""
    paths: list[Path] = []
    real = files.hash_file

    def counting(path: Path, **options: bool) -> str:
        paths.append(path)
        return real(path, **options)

    monkeypatch.setattr(files, "hash_file", counting)
    return paths


def test_the_same_content_is_stored_once(store: SnapshotStore) -> None:
    one, two = _commit(store, "1"), _commit(store, "2")
    other = _commit(store, "3", os.urandom(content.LARGE_BYTES))
    assert _inode(one) == _inode(two) != _inode(other)
    assert len(_kept(store)) == 2
    sizes = {entry.key: (entry.size_bytes, entry.shared_bytes) for entry in store.list()}
    assert sizes[one.key][1] == sizes[two.key][1] == content.LARGE_BYTES
    assert sizes[other.key][1] == 0
    usage = store.usage()
    assert usage.shared_bytes == content.LARGE_BYTES
    assert usage.size_bytes == sum(size for size, _ in sizes.values()) - content.LARGE_BYTES


def test_small_files_keep_to_themselves(store: SnapshotStore) -> None:
    one, two = (_commit(store, name, b"x" * (content.LARGE_BYTES - 1)) for name in "12")
    assert _inode(one) != _inode(two)
    assert _kept(store) == []


def test_sharing_and_parting_make_nobody_read_its_files_again(
    store: SnapshotStore, read: list[Path]
) -> None:
    one = _commit(store, "1")
    two = _commit(store, "2")
    three = _commit(store, "3")
    read.clear()
    for snapshot in (one, two, three):
        validate.validate_images(snapshot)
    store.remove(two.key)
    store.gc(store.usage().size_bytes - 1, keep={one.key})
    assert [entry.key for entry in store.list()] == [one.key]
    validate.validate_images(one)
    assert read == []
    assert stamp.read(one.path).verified > 0


def test_a_stamp_that_did_not_hold_is_not_mended_by_sharing(
    store: SnapshotStore, read: list[Path]
) -> None:
    one = _commit(store, "1")
    pages = one.images / "pages-1.img"
    os.utime(pages, ns=(1, 1))
    _commit(store, "2")
    read.clear()
    validate.validate_images(one)
    assert pages in read


def test_content_goes_with_its_last_holder(store: SnapshotStore) -> None:
    one, two = _commit(store, "1"), _commit(store, "2")
    freed = store.remove(one.key)
    assert freed < content.LARGE_BYTES
    assert len(_kept(store)) == 1
    assert (two.images / "pages-1.img").read_bytes() == _PAGES
    assert store.remove(two.key) >= content.LARGE_BYTES
    assert _kept(store) == []
    assert not (store.root / content.DIRECTORY).exists()


def test_damaged_content_is_shared_with_nobody(store: SnapshotStore) -> None:
    one = _commit(store, "1")
    unsealed(one.images / "pages-1.img").write_bytes(_PAGES[:-1] + bytes([_PAGES[-1] ^ 1]))
    two = _commit(store, "2")
    validate.validate_images(two)
    assert _inode(one) != _inode(two)
    assert _inode(_commit(store, "3")) == _inode(two)


def test_content_that_is_replaced_while_it_is_compared_is_not_shared(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _commit(store, "1")
    compare = content.filecmp.cmp

    def replaced_then(kept: Path, other: Path, *, shallow: bool) -> bool:
        same = compare(kept, other, shallow=shallow)
        kept.unlink()
        kept.write_bytes(bytes(content.LARGE_BYTES))
        return same

    monkeypatch.setattr(content.filecmp, "cmp", replaced_then)
    two = _commit(store, "2")
    assert (two.images / "pages-1.img").read_bytes() == _PAGES


def test_leavings_of_a_killed_process_are_removed(store: SnapshotStore) -> None:
    one = _commit(store, "1")
    directory = store.root / content.DIRECTORY
    (directory / f"{'0' * 32}-65536").write_bytes(b"x")  # of a draft that is gone
    os.link(one.images / "pages-1.img", directory / ".new-abc")
    store.sweep()
    assert [path.stat().st_ino for path in _kept(store)] == [_inode(one)]


def test_agents_that_commit_and_remove_the_same_content_at_once(store: SnapshotStore) -> None:
    problems: list[BaseException] = []

    def work(number: int) -> None:
        mine = SnapshotStore(store.root)
        try:
            for turn in range(4):
                made = _commit(mine, f"{number}-{turn}")
                validate.validate_images(made)
                if turn % 2:
                    mine.remove(made.key)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must fail on it
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    entries = store.list()
    assert len(entries) == 8
    for entry in entries:
        assert entry.snapshot
        validate.validate_images(entry.snapshot)
        store.remove(entry.key)
    assert _kept(store) == []


@pytest.mark.criu
def test_a_mapped_snapshot_is_restored_from_a_shared_page_file(
    criu: Criu, commit_real: CommitReal, store: SnapshotStore
) -> None:
    first = commit_real()
    second = commit_real(code_digest="other")
    assert first.key != second.key
    assert _inode(first) == _inode(second)
    assert second.is_mapped
    store.remove(first.key)
    validate.validate_images(second)
    with sandbox.restored(criu, second.mapped, second.manifest.control_pipe) as copy:
        assert copy.rc == 0, copy.log
        assert copy.inside.answer() == "42"


def test_a_store_that_cannot_be_listed_is_not_one_whose_files_nobody_has(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _commit(store, "kept")
    unlistable.make(monkeypatch, store.root)
    with pytest.raises(PermissionError):
        stamp.holders(store.root, set())
