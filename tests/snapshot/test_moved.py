"""A store at another place: its snapshots are mapped there, too."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rekindle.snapshot import machine, moved, stamp, validate
from rekindle.snapshot.criu import Criu
from rekindle.snapshot.store import SnapshotStore
from tests.snapshot import sandbox
from tests.snapshot.conftest import CommitReal

#: Maps a snapshot of a store that was moved, and dies by SIGKILL just before the call of that
#: number of those that change the disk; prints "done" where there are fewer.
_KILLED = """
import os, signal, sys
from pathlib import Path
from rekindle.snapshot import moved
from rekindle.snapshot.store import SnapshotStore

root, key, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
store = SnapshotStore(root)
found = store.get(key)
calls = 0

def counting(real):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call

for name in ("symlink", "replace", "unlink", "fsync", "chmod"):
    setattr(os, name, counting(getattr(os, name)))
moved.named_here(store, found)
print("done")
"""


def end_at(root: Path, key: str, at: int) -> bool:
    """Whether it was killed."""
    argv = [sys.executable, "-c", _KILLED, str(root), key, str(at)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) in ((-signal.SIGKILL, ""), (0, "done\n"))
    return done.returncode != 0


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


@pytest.mark.criu
def test_a_snapshot_whose_mapping_is_killed_anywhere_is_as_before_or_moved(
    criu: Criu, commit_real: CommitReal, store: SnapshotStore, tmp_path: Path
) -> None:
    made = commit_real()
    first, at = store.root, 0
    kept = tmp_path / "kept"
    os.rename(first, kept)
    seen: set[bool] = set()
    killed = True
    while killed:
        at += 1
        there = tmp_path / f"killed-{at}"
        subprocess.run(["cp", "-a", str(kept), str(there)], check=True)
        killed = end_at(there, made.key, at)
        found = SnapshotStore(there).get(made.key)
        assert found is not None
        seen.add(found.is_mapped)
        validate.validate_images(found)
        validate.validate_here(found, machine.here(criu), full=True)
        if not found.is_mapped:  # where it came from, it is mapped
            os.rename(there, first)
            back = SnapshotStore(first).get(made.key)
            assert back is not None and back.is_mapped
            validate.validate_here(back, machine.here(criu), full=True)
            os.rename(first, there)
        again = moved.named_here(SnapshotStore(there), found)
        assert again.is_mapped
        validate.validate_here(again, machine.here(criu), full=True)
    assert seen == {False, True}
    with sandbox.restored(criu, again.mapped, again.manifest.control_pipe) as copy:
        assert copy.rc == 0, copy.log
        assert copy.inside.answer() == "42"
