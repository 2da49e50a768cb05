"""What builds leave: as much of it as there is room for, and nothing that one of them has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rekindle.linux import files
from rekindle.runtime.images import builds_left, layer_gc
from rekindle.runtime.images.store import LayerStore

_HOLDS = """
import sys
from rekindle.linux import mounts, namespaces
namespaces.unshare(namespaces.CLONE_NEWNS)
mounts.make_private()
mounts.mount(sys.argv[1], sys.argv[2], flags=mounts.MS_BIND)
print("holds", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> LayerStore:
    made = LayerStore(tmp_path / "images")
    for name, size in (("pip", 3 << 20), ("uv", 1 << 20)):
        folder = made.root / "cache" / name / "below"
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(os.urandom(size))
    return made


def _downloads(store: LayerStore) -> set[str]:
    return {one.parents[1].name for one in (store.root / "cache").glob("*/below/file")}


def test_downloads_go_once_they_are_more_than_their_part_of_the_budget(
    store: LayerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(layer_gc.VARIABLE, str(20 << 20))
    layer_gc.collect(store)
    assert _downloads(store) == {"pip", "uv"}
    monkeypatch.setenv(layer_gc.VARIABLE, str(12 << 20))
    layer_gc.collect(store)
    assert _downloads(store) == {"uv"}
    assert (store.root / "cache" / "pip").is_dir()
    assert not list((store.root / "drafts").iterdir())


@pytest.mark.needs_root("mounts a folder")
def test_a_build_that_has_downloads_keeps_them_until_it_has_ended(
    store: LayerStore, tmp_path: Path
) -> None:
    (tmp_path / "seen").mkdir()
    argv = [sys.executable, "-c", _HOLDS, str(store.root / "cache/pip"), str(tmp_path / "seen")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as build:
        assert build.stdin is not None and build.stdout is not None
        assert build.stdout.readline() == b"holds\n"
        builds_left.remove(store, 0)
        assert _downloads(store) == set()
        assert len(list((store.root / "drafts").glob("*/below/file"))) == 1
        build.stdin.close()
    builds_left.remove(store, 0)
    assert not list((store.root / "drafts").iterdir())


def test_logs_of_builds_that_failed_long_ago_locks_and_what_was_begun_go(store: LayerStore) -> None:
    for name in ("logs/old", "logs/new", "locks/free", "locks/held"):
        (store.root / name).parent.mkdir(exist_ok=True)
        (store.root / name).touch()
    for name in (".overlay-old", ".overlay-new", "tools/.draft-old", "tools/.draft-new"):
        (store.root / name).mkdir(parents=True)
    for name in ("logs/old", ".overlay-old", "tools/.draft-old"):
        os.utime(store.root / name, (1, 1))
    fd = os.open(store.root / "locks/held", os.O_RDWR)
    try:
        assert files.try_lock(fd)
        builds_left.remove(store, 1 << 40)
    finally:
        os.close(fd)
    left = {str(one.relative_to(store.root)) for one in store.root.rglob("*")}
    assert {"logs/new", "locks/held", ".overlay-new", "tools/.draft-new"} < left
    assert not left & {"logs/old", "locks/free", ".overlay-old", "tools/.draft-old"}


def test_who_has_the_lock_of_a_layer_keeps_it_and_one_that_went_is_made_again(
    store: LayerStore,
) -> None:
    name = "a" * 32
    for _ in range(2):
        with store.building(name, lambda: None):
            builds_left.remove(store, 1 << 40)
            assert (store.root / "locks" / name).exists()
        builds_left.remove(store, 1 << 40)
        assert not (store.root / "locks" / name).exists()
