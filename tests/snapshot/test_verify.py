"""Verification: every byte is read, what is bad is told and not restored, each has its turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rekindle.exception import SnapshotError, SnapshotInvalidError
from rekindle.snapshot import files, stamp, validate, verify
from rekindle.snapshot.store import Snapshot, SnapshotStore
from tests.sealed import unsealed
from tests.snapshot.conftest import commit, ingredients

_ROOT = Path(__file__).parents[2]


def _damage_on_disk(snapshot: Snapshot) -> None:
    """Bytes that change without a trace: the stamp, too, says that all is well."""
    pages = unsealed(snapshot.images / "pages-1.img")
    content = bytearray(pages.read_bytes())
    content[5000] ^= 1
    pages.write_bytes(content)
    stamp.write(snapshot.path, stamp.look(snapshot.path, snapshot.manifest.content))


def test_a_snapshot_as_it_was_written_is_good(store: SnapshotStore) -> None:
    made = commit(store)
    finding = verify.verify(store, made.key)
    assert finding is not None
    assert (finding.key, finding.app, finding.function) == (made.key, "shop", "Model")
    assert finding.problem == ""
    assert finding.read_bytes == made.manifest.images_bytes


def test_what_no_stamp_shows_is_found_and_not_restored_any_more(store: SnapshotStore) -> None:
    made = commit(store)
    _damage_on_disk(made)
    validate.validate_images(made)
    finding = verify.verify(store, made.key)
    assert finding is not None
    assert finding.problem == "image file pages-1.img is corrupt: its content changed"
    for _ in range(2):
        with pytest.raises(SnapshotInvalidError, match=r"pages-1\.img is corrupt"):
            validate.validate_images(made)


def test_a_bad_one_is_good_again_when_its_files_are(store: SnapshotStore) -> None:
    made = commit(store)
    pages = made.images / "pages-1.img"
    right = pages.read_bytes()
    _damage_on_disk(made)
    verify.verify(store, made.key)
    pages.write_bytes(right)
    finding = verify.verify(store, made.key)
    assert finding is not None
    assert finding.problem == ""
    validate.validate_images(made)


def test_one_that_cannot_be_read_is_bad_and_one_that_is_gone_is_not(store: SnapshotStore) -> None:
    made = commit(store)
    (made.images / "pages-1.img").unlink()
    finding = verify.verify(store, made.key)
    assert finding is not None
    assert finding.problem == "image file pages-1.img is missing"
    (made.path / "manifest.json").write_text("{")
    finding = verify.verify(store, made.key)
    assert finding is not None
    assert "not JSON" in finding.problem
    store.remove(made.key)
    assert verify.verify(store, made.key) is None


def test_it_is_not_removed_to_make_room_while_it_is_read(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = commit(store)
    real = files.hash_file

    def hash_file(path: Path, **options: bool) -> str:
        assert store.gc(0) == []
        return real(path, **options)

    monkeypatch.setattr(files, "hash_file", hash_file)
    finding = verify.verify(store, made.key)
    assert finding is not None
    assert finding.problem == ""
    assert [one.entry.key for one in store.gc(0)] == [made.key]


@pytest.mark.parametrize("size", [0, 1, 4096, 10_000, (4 << 20) + 123])
def test_reading_past_the_page_cache_reads_the_same(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    assert files.hash_file(path, direct=True) == files.hash_file(path, sync=True)


def test_each_has_its_turn_in_the_background(store: SnapshotStore) -> None:
    made = [commit(store, ingredients(code_digest=str(n))) for n in range(3)]
    for seconds, snapshot in enumerate(made, 1):
        looked = stamp.look(snapshot.path, snapshot.manifest.content)
        stamp.write(snapshot.path, looked, verified=float(seconds))
    unsealed(made[1].images / "pages-1.img").write_bytes(os.urandom(10_000))
    found = []
    for _ in range(3):
        finding = verify.verify_one_in_background(store)
        assert finding is not None
        found.append((finding.key, bool(finding.problem)))
    assert found == [(made[0].key, False), (made[1].key, True), (made[2].key, False)]
    again = verify.verify_one_in_background(store)
    assert again is not None
    assert again.key == made[0].key


def test_an_empty_store_has_nothing_to_verify(store: SnapshotStore) -> None:
    assert verify.verify_one_in_background(store) is None


def test_a_verification_that_fails_or_lasts_is_an_error(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SnapshotError, match=r"longer than 0\.001 s"):
        verify.verify_one_in_background(store, timeout_s=0.001)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SnapshotError, match="verification failed: status 1"):
        verify.verify_one_in_background(store)


_PRIORITIES = """
import json, os, sys
import psutil
from rekindle.snapshot import verify

def look(store):
    me = psutil.Process()
    print(json.dumps([int(me.ionice().ioclass), me.nice()]))

verify.verify_one = look
sys.argv = ["verify", sys.argv[1], str(os.getppid())]
verify.main()
"""


def test_it_reads_when_nobody_else_wants_to(store: SnapshotStore) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PRIORITIES, str(store.root)],
        capture_output=True,
        text=True,
        check=True,
        cwd=_ROOT,
    )
    idle, nicest = 3, 19
    assert json.loads(done.stdout.splitlines()[0]) == [idle, nicest]
