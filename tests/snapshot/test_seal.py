"""A finished dump becomes immutable, and mapped where that can be."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from pathlib import Path

import pytest

from rekindle.exception import CriuNotFoundError, SnapshotInvalidError
from rekindle.snapshot import machine, seal, validate
from rekindle.snapshot.criu import Criu
from rekindle.snapshot.manifest import FORMAT
from rekindle.snapshot.mapped.areas import NotMappableError
from rekindle.snapshot.store import SnapshotStore
from tests.sealed import unsealed
from tests.snapshot import sandbox
from tests.snapshot.conftest import CommitReal, commit


def _stored(directory: Path) -> list[Path]:
    return [path for part in ("images", "mapped") for path in (directory / part).glob("*")]


@pytest.mark.criu
def test_a_mapped_snapshot_is_restored_from_the_store(
    criu: Criu, commit_real: CommitReal, store: SnapshotStore
) -> None:
    snapshot = commit_real()
    assert snapshot.is_mapped, snapshot.why_not_mapped
    assert snapshot.manifest.mapping["mapped_bytes"] > 1 << 20
    for mapped in (True, False, True):
        images = snapshot.mapped if mapped else snapshot.images
        with sandbox.restored(criu, images, snapshot.manifest.control_pipe) as copy:
            assert copy.rc == 0, copy.log
            maps = copy.inside.run(["cat", "/proc/100/maps"]).stdout
            assert (str(snapshot.images / "pages-1.img") in maps) is mapped
            assert copy.inside.answer() == "42"
    validate.validate_here(snapshot, machine.here(criu), full=True)
    found = store.get(snapshot.key)
    assert found is not None
    assert found.is_mapped
    assert found.manifest == snapshot.manifest


@pytest.mark.criu
def test_nothing_in_a_snapshot_can_be_written_by_mistake(commit_real: CommitReal) -> None:
    paths = _stored(commit_real().path)
    assert len(paths) > 20
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o400}


@pytest.mark.criu
@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("mm-100.img", "remove", "mapped image file mm-100.img is missing"),
        ("mm-100.img", "flip", "mapped image file mm-100.img is corrupt"),
        ("files.img", "truncate", "mapped image file files.img is truncated"),
        ("core-100.img", "replace", "mapped image file core-100.img is not the image file of that"),
        ("../images/pages-1.img", "flip", "image file pages-1.img is corrupt"),
        ("../made-*", "remove", "page files are not where its mapped images name them"),
    ],
)
def test_damage_to_the_mapped_images_is_named(
    commit_real: CommitReal, name: str, damage: str, reason: str
) -> None:
    snapshot = commit_real()
    (path,) = snapshot.mapped.glob(name)
    if damage in ("remove", "replace"):
        content = b"" if path.is_dir() else path.read_bytes()
        path.unlink()
        if damage == "replace":
            path.write_bytes(content)
    elif damage == "truncate":
        os.truncate(unsealed(path), path.stat().st_size - 1)
    else:
        content = path.read_bytes()
        unsealed(path).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(SnapshotInvalidError, match=re.escape(reason)):
        validate.validate_images(snapshot)


@pytest.mark.criu
def test_the_images_of_a_replaced_snapshot_map_nothing_of_the_new_one(
    criu: Criu, commit_real: CommitReal, tmp_path: Path
) -> None:
    first = commit_real(created=1.0)
    old = tmp_path / "a restore that had read so far"
    shutil.copytree(first.mapped, old)
    second = commit_real()
    assert second.manifest.files["pages-1.img"] == first.manifest.files["pages-1.img"]
    with sandbox.restored(criu, old, first.manifest.control_pipe) as copy:
        assert copy.rc != 0
        assert "made-" in copy.log
    with sandbox.restored(criu, second.mapped, second.manifest.control_pipe) as copy:
        assert copy.rc == 0, copy.log


@pytest.mark.criu
def test_a_store_that_was_moved_restores_by_copying(
    criu: Criu, commit_real: CommitReal, store: SnapshotStore, tmp_path: Path
) -> None:
    made = commit_real()
    elsewhere = tmp_path / "elsewhere"
    os.rename(store.root, elsewhere)
    moved = SnapshotStore(elsewhere).get(made.key)
    assert moved is not None
    assert not moved.is_mapped
    assert "moved" in moved.why_not_mapped
    validate.validate_images(moved)
    with sandbox.restored(criu, moved.images, moved.manifest.control_pipe) as copy:
        assert copy.rc == 0, copy.log
        assert copy.inside.answer() == "42"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotMappableError("memory is in too many pieces"), "memory is in too many pieces"),
        (CriuNotFoundError("pycriu is not on this machine"), "pycriu is not on this machine"),
        (SnapshotInvalidError("mm-1.img is not a CRIU image"), "mm-1.img is not a CRIU image"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
    ],
)
def test_what_cannot_be_mapped_is_kept_for_copying_with_the_reason(
    store: SnapshotStore, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def refuse(_plain: Path, target: Path, _at: Path, **_options: object) -> None:
        target.mkdir()
        (target / "leavings").write_bytes(b"x")
        raise error

    monkeypatch.setattr(seal, "rewrite", refuse)
    snapshot = commit(store)
    assert not snapshot.is_mapped
    assert snapshot.why_not_mapped == reason
    assert sorted(path.name for path in snapshot.path.iterdir()) == [
        "dump.log",
        "images",
        "manifest.json",
        "used",
        "verified.json",
    ]
    validate.validate_images(snapshot)


def test_a_snapshot_of_the_earlier_format_is_made_anew(store: SnapshotStore) -> None:
    first = commit(store)
    path = first.path / "manifest.json"
    earlier = path.read_text().replace(f'"format":{FORMAT}', f'"format":{FORMAT - 1}')
    path.write_text(earlier)
    why = f"format {FORMAT - 1}, this rekindle reads {FORMAT}"
    with pytest.raises(SnapshotInvalidError, match=why):
        store.get(first.key)
    commit(store)
    assert store.get(first.key) is not None
