"""Validation: what does not fit or is not whole is refused with the first reason."""

from __future__ import annotations

import dataclasses
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rekindle.exception import SnapshotError, SnapshotInvalidError
from rekindle.linux.passing import is_passing
from rekindle.snapshot import files, machine, stamp, validate
from rekindle.snapshot.manifest import LoadedFile
from rekindle.snapshot.store import Snapshot, SnapshotStore
from tests import exhausted
from tests.sealed import unsealed
from tests.snapshot.conftest import commit, ingredients


def _refused(snapshot: Snapshot, **changes: object) -> str:
    with pytest.raises(SnapshotInvalidError) as caught:
        validate.validate(snapshot, ingredients(**changes))
    return str(caught.value)


def test_a_snapshot_as_it_was_committed_is_valid(store: SnapshotStore) -> None:
    snapshot = commit(store)
    validate.validate(snapshot, ingredients())
    validate.validate_here(snapshot, ingredients(), full=True)
    validate.validate_images(snapshot)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kernel": "5.10 #1"}, "kernel changed"),
        ({"cpu_features": ("avx",)}, "CPU features missing: avx2"),
        ({"criu": "4.0"}, "CRIU changed"),
        ({"arch": "aarch64"}, "architecture changed"),
        ({"code_digest": "other"}, "code changed"),
        ({"packages": {}}, "package removed"),
    ],
)
def test_a_foreign_snapshot_is_refused(
    store: SnapshotStore, changes: dict[str, object], reason: str
) -> None:
    snapshot = commit(store)
    assert reason in _refused(snapshot, **changes)
    assert snapshot.key in _refused(snapshot, **changes)


def test_a_processor_that_can_do_more_is_no_reason(store: SnapshotStore) -> None:
    validate.validate(commit(store), ingredients(cpu_features=("amx", "avx", "avx2")))


def test_a_missing_file_is_named(store: SnapshotStore) -> None:
    snapshot = commit(store)
    (snapshot.images / "pages-1.img").unlink()
    assert "pages-1.img is missing" in _refused(snapshot)


def test_a_truncated_file_is_named_with_both_sizes(store: SnapshotStore) -> None:
    snapshot = commit(store)
    os.truncate(unsealed(snapshot.images / "pages-1.img"), 4096)
    assert "pages-1.img is truncated: 4096 bytes instead of 10000" in _refused(snapshot)


def _flip(path: Path, offset: int) -> None:
    """Change one byte, and hide it as well as a file system lets one."""
    before = path.stat()
    with open(unsealed(path), "r+b") as image:
        image.seek(offset)
        byte = image.read(1)
        image.seek(offset)
        image.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(offset=st.integers(0, 9_999))
def test_one_flipped_bit_anywhere_is_seen(store: SnapshotStore, offset: int) -> None:
    snapshot = commit(store, created=0.0)
    _flip(snapshot.images / "pages-1.img", offset)
    assert "pages-1.img is corrupt" in _refused(snapshot)


def test_a_corrupt_image_that_was_valid_before_is_refused_all_the_same(
    store: SnapshotStore,
) -> None:
    snapshot = commit(store)
    validate.validate(snapshot, ingredients())
    _flip(snapshot.images / "inventory.img", 3)
    assert "inventory.img is corrupt" in _refused(snapshot)
    with pytest.raises(SnapshotInvalidError, match="corrupt"):
        validate.validate_images(snapshot)


def test_a_manifest_without_inventory_is_refused(store: SnapshotStore) -> None:
    snapshot = commit(store)
    del snapshot.manifest.files["inventory.img"]
    assert "inventory.img" in _refused(snapshot)


# ---- loaded files --------------------------------------------------------------------------


def _with_loaded(store: SnapshotStore, path: Path) -> Snapshot:
    info = path.stat()
    loaded = {str(path): LoadedFile(info.st_size, info.st_mtime_ns)}
    return commit(store, loaded_files=loaded)


def test_a_loaded_file_that_changed_or_went_is_named(store: SnapshotStore, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("x = 1\n")
    snapshot = _with_loaded(store, module)
    validate.validate(snapshot, ingredients())
    module.write_text("x = 2\n")
    os.utime(module, (1, 1))
    assert f"loaded file {module} changed" in _refused(snapshot)
    module.unlink()
    assert f"loaded file {module} is gone" in _refused(snapshot)


# ---- the stamp -----------------------------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read as a whole."""
    names: list[str] = []
    real = files.hash_file

    def counting(path: Path, **options: bool) -> str:
        names.append(path.name)
        return real(path, **options)

    monkeypatch.setattr(files, "hash_file", counting)
    return names


def test_files_that_were_verified_are_not_read_again(
    store: SnapshotStore, hashed: list[str]
) -> None:
    snapshot = commit(store)
    hashed.clear()
    validate.validate(snapshot, ingredients())
    assert hashed == []


def test_after_a_reboot_everything_is_read_once(
    store: SnapshotStore, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = commit(store)
    hashed.clear()
    monkeypatch.setattr(machine, "boot_id", lambda: "another boot")
    for _ in range(2):
        validate.validate(snapshot, ingredients())
    assert sorted(hashed) == ["inventory.img", "pages-1.img"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"boot": "", "files": {}}'])
def test_a_broken_stamp_means_reading(store: SnapshotStore, hashed: list[str], text: str) -> None:
    snapshot = commit(store)
    hashed.clear()
    (snapshot.path / stamp.NAME).write_text(text)
    validate.validate(snapshot, ingredients())
    assert len(hashed) == 2


def test_a_stamp_of_other_files_does_not_hold(store: SnapshotStore, hashed: list[str]) -> None:
    snapshot = commit(store)
    hashed.clear()
    image = snapshot.images / "pages-1.img"
    content = image.read_bytes()
    image.unlink()
    image.write_bytes(content)  # the same, in another inode
    validate.validate(snapshot, ingredients())
    assert len(hashed) == 2


def test_what_is_changed_while_it_is_read_is_read_again(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = commit(store)
    pages, hash_file = snapshot.images / "pages-1.img", files.hash_file

    def changed_then(path: Path, **options: bool) -> str:
        found = hash_file(path, **options)
        if path == pages:
            unsealed(pages).write_bytes(bytes(pages.stat().st_size))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(files, "hash_file", changed_then)
        validate.read_all(snapshot)  # it was whole as it was read
    with pytest.raises(SnapshotInvalidError, match=r"pages-1\.img is corrupt"):
        validate.validate_images(snapshot)


def test_only_the_machine_has_to_be_known_to_list(store: SnapshotStore) -> None:
    snapshot = commit(store)
    here = ingredients()
    validate.validate_here(snapshot, here)
    with pytest.raises(SnapshotInvalidError, match="kernel changed"):
        validate.validate_here(snapshot, dataclasses.replace(here, kernel="7.0"))


def test_files_are_as_they_were_seen_until_one_of_them_is_touched(store: SnapshotStore) -> None:
    snapshot = commit(store)
    seen = validate.Seen.of(snapshot)
    assert seen.holds()
    pages = snapshot.images / "pages-1.img"
    content, times = pages.read_bytes(), os.stat(pages)
    pages.chmod(0o600)
    pages.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(pages, ns=(times.st_atime_ns, times.st_mtime_ns))  # as if nothing had been
    assert not seen.holds()


def test_files_that_were_found_bad_or_are_gone_are_not_as_they_were(store: SnapshotStore) -> None:
    snapshot = commit(store)
    seen = validate.Seen.of(snapshot)
    stamp.write(snapshot.path, stamp.look(snapshot.path, snapshot.manifest.content), bad="it is")
    assert not seen.holds()
    seen = validate.Seen.of(snapshot)
    (snapshot.images / "inventory.img").unlink()
    assert not seen.holds()
    with pytest.raises(OSError):
        validate.Seen.of(snapshot)


def test_files_that_cannot_be_read_just_now_say_nothing_against_a_snapshot(
    store: SnapshotStore,
) -> None:
    snapshot = commit(store)
    fresh = SnapshotStore(store.root)  # which has read no manifest yet
    for look in (lambda: fresh.get(snapshot.key), lambda: validate.validate_images(snapshot)):
        with exhausted.descriptors(0), pytest.raises(SnapshotError) as caught:
            look()
        assert "Too many open files" in str(caught.value) and is_passing(caught.value)
        assert not isinstance(caught.value, SnapshotInvalidError)  # it would be made again
    assert fresh.get(snapshot.key) is not None
    validate.validate(snapshot, ingredients())


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_a_loaded_file_that_cannot_be_looked_at_just_now_has_not_changed(
    store: SnapshotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    module = tmp_path / "module.py"
    module.write_text("")
    info = module.stat()
    loaded = {str(module): LoadedFile(info.st_size, info.st_mtime_ns)}
    snapshot = commit(store, loaded_files=loaded)
    stat = os.stat

    def refused(path: object, **options: Any) -> os.stat_result:
        if path == str(module):
            raise OSError(number, os.strerror(number), path)
        return stat(path, **options)  # type: ignore[call-overload, no-any-return]

    with monkeypatch.context() as patched, pytest.raises(SnapshotError) as caught:
        patched.setattr(os, "stat", refused)
        validate.validate(snapshot, ingredients())
    assert str(module) in str(caught.value)
    lost = number == errno.EIO  # what a disk has lost does not come back
    assert isinstance(caught.value, SnapshotInvalidError) is lost
    validate.validate(snapshot, ingredients())
