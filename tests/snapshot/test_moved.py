"""A store at another place: its snapshots are mapped there, too."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rekindle.snapshot import machine, moved, stamp, validate
from rekindle.snapshot.criu import Criu
from rekindle.snapshot.store import SnapshotStore
from tests.snapshot import sandbox
from tests.snapshot.conftest import CommitReal


@pytest.mark.criu
def test_a_snapshot_of_a_store_that_was_moved_is_mapped_again_where_it_lies(
    criu: Criu, commit_real: CommitReal, store: SnapshotStore, tmp_path: Path
) -> None:
    made = commit_real()
    assert moved.named_here(store, made) is made
    os.rename(store.root, tmp_path / "elsewhere")
    there = SnapshotStore(tmp_path / "elsewhere")
    found = there.get(made.key)
    assert found is not None and not found.is_mapped
    (found.mapped / "files.draft").touch()  # of an agent that was killed as it did this
    again = moved.named_here(there, found)
    assert again.is_mapped and again.manifest.mapped_links == made.manifest.mapped_links
    with sandbox.restored(criu, again.mapped, again.manifest.control_pipe) as copy:
        assert copy.rc == 0, copy.log
        maps = copy.inside.run(["cat", "/proc/100/maps"]).stdout
        assert str(again.images / "pages-1.img") in maps
        assert copy.inside.answer() == "42"
    # What had been verified is not read again.
    assert stamp.read(again.path).covers(stamp.look(again.path, again.manifest.content))
    validate.validate_here(again, machine.here(criu), full=True)
    assert there.get(made.key) == again


@pytest.mark.criu
def test_a_moved_snapshot_is_left_alone_while_it_is_used_and_where_its_copy_is_not_whole(
    commit_real: CommitReal, store: SnapshotStore, tmp_path: Path
) -> None:
    made = commit_real()
    shutil.copytree(store.root, tmp_path / "elsewhere", symlinks=True)
    there = SnapshotStore(tmp_path / "elsewhere")
    found, pin = there.get(made.key), there.pin(made.key)
    assert found is not None and pin is not None
    assert not moved.named_here(there, found).is_mapped
    pin.release()
    (found.mapped / "files.img").unlink()
    assert not moved.named_here(there, found).is_mapped
    validate.validate_images(made)  # the one that was copied is as it was
