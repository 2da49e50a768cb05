"""Sharing of pages on disk, where the file system can."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.snapshot import extents
from tests.snapshot import sandbox

_PAGE = extents.PAGE_BYTES


@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 3), max_size=40))
def test_runs_are_equal_long_enough_and_apart(theirs: list[int], ours: list[int]) -> None:
    at = 0
    for there, here, pages in extents._common_runs(theirs, ours):
        assert pages >= extents.MIN_RUN_PAGES
        assert here >= at
        assert theirs[there : there + pages] == ours[here : here + pages]
        assert len(ours[here : here + pages]) == pages
        at = here + pages


def test_a_long_run_is_found_wherever_it_lies() -> None:
    ours, theirs = [9, 9, *range(100, 110)], [*range(100, 110), 8]
    assert list(extents._common_runs(theirs, ours)) == [(0, 2, 10)]


def test_where_the_file_system_cannot_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if extents.supported(tmp_path):
        pytest.skip("this file system can share pages")
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.write_bytes(b"x" * _PAGE * 8)
    assert extents.share_pages(two, one) == 0
    assert one.read_bytes() == two.read_bytes()


#: Runs in a mount namespace on a fresh file system; prints what it found.
_ON_A_FILE_SYSTEM = """
import json, os, subprocess, sys
from pathlib import Path
from rekindle.snapshot import extents, validate
from rekindle.snapshot.draft import begin
from rekindle.snapshot.store import SnapshotStore
from tests.snapshot.conftest import ingredients, manifest

image, root = Path(sys.argv[1]), Path(sys.argv[2])
subprocess.run(["mount", "-o", "loop", str(image), str(root)], check=True)
store = SnapshotStore(root / "snapshots")
common = os.urandom(4096 * 512)
shared = []
real = extents.share_pages
extents.share_pages = lambda target, donor: shared.append(real(target, donor))

def used():
    os.sync()
    found = os.statvfs(root)
    return (found.f_blocks - found.f_bfree) * found.f_frsize

def commit(name):
    made_from = ingredients(code_digest=name)
    draft = begin(store, made_from.key())
    (draft.images / "inventory.img").write_bytes(b"inventory")
    own = [os.urandom(4096 * 3) for _ in range(2)]
    (draft.images / "pages-1.img").write_bytes(own[0] + common + own[1])
    return draft.commit(manifest(made_from)), own

first, _ = commit("1")
before = used()
second, own = commit("2")
validate.read_all(second)
print(json.dumps({
    "supported": extents.supported(root),
    "shared": shared,
    "grown": used() - before,
    "right": (second.images / "pages-1.img").read_bytes() == own[0] + common + own[1],
}))
"""


@pytest.mark.criu  # needs the privileges that CRIU needs
@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_snapshots_share_pages_where_the_file_system_can(tmp_path: Path, kind: str) -> None:
    mkfs = shutil.which(f"mkfs.{kind}", path=f"{os.environ['PATH']}:/sbin:/usr/sbin")
    if mkfs is None:
        pytest.skip(f"no mkfs.{kind} on this machine")
    if kind not in Path("/proc/filesystems").read_text().split():
        pytest.skip(f"this kernel has no {kind}")
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("no loop devices on this machine")
    image, root = tmp_path / "image", tmp_path / "root"
    with image.open("wb") as file:
        file.truncate(400 << 20)
    root.mkdir()
    with sandbox.namespaces() as inside:
        made = inside.run([mkfs, str(image)])
        assert made.returncode == 0, made.stderr
        done = inside.run([sys.executable, "-c", _ON_A_FILE_SYSTEM, str(image), str(root)])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["supported"] is True
    assert found["shared"] == [512 * _PAGE]
    if kind != "btrfs":  # which frees an extent when nothing of it is left in use
        assert found["grown"] < 256 * _PAGE
    assert found["right"] is True
