"""Directories that nobody counts go when nobody has used them for long, and not before."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rekindle.linux import kept_directories
from rekindle.linux.disk_use import disk_bytes
from rekindle.linux.kept_directories import KEPT_S, remove_unused, use
from tests import unlistable

_LONG_AGO_S = KEPT_S + 60


def _made(place: Path, age_s: float = 0.0) -> Path:
    place.mkdir(parents=True)
    (place / "file").write_text("content")
    then = time.time() - age_s
    os.utime(place, (then, then))
    return place


def test_what_was_not_used_for_long_goes_with_what_is_noted_of_it(tmp_path: Path) -> None:
    old = _made(tmp_path / "old", _LONG_AGO_S)
    (tmp_path / "old.compiled-3.11").touch()
    newer = _made(tmp_path / "newer", KEPT_S - 60)
    (tmp_path / "newer.compiled-3.11").touch()
    running = _made(tmp_path / "running", _LONG_AGO_S)
    assert remove_unused(tmp_path, [running, tmp_path / "never"]) == ["old"]
    assert sorted(os.listdir(tmp_path)) == ["newer", "newer.compiled-3.11", "running"]
    assert not use(old) and use(newer)
    assert time.time() - running.stat().st_mtime < 3600
    assert remove_unused(tmp_path / "none", []) == []


def test_what_killed_processes_left_goes_after_a_day(tmp_path: Path) -> None:
    _made(tmp_path / ".draft-left", 2 * 86400)
    _made(tmp_path / ".draft-new", 3600)
    assert remove_unused(tmp_path, []) == []
    assert os.listdir(tmp_path) == [".draft-new"]


def test_what_another_process_begins_to_use_just_then_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = _made(tmp_path / "old", _LONG_AGO_S)
    rename = os.rename

    def use_first(source: Path, target: Path) -> None:
        if source == old:
            assert use(old)
        rename(source, target)

    monkeypatch.setattr(kept_directories.os, "rename", use_first)
    assert remove_unused(tmp_path, []) == []
    assert (old / "file").read_text() == "content" and os.listdir(tmp_path) == ["old"]


def test_of_too_much_the_least_recently_used_goes_and_nothing_that_may_be_in_use(
    tmp_path: Path,
) -> None:
    ages = {"a": 90_000, "b": 80_000, "c": 70_000, "mine": 95_000, "d": 60}
    for name, age_s in ages.items():
        place = _made(tmp_path / name)
        (place / "file").write_bytes(os.urandom(1 << 20))
        then = time.time() - age_s
        os.utime(place, (then, then))
    mine, size = tmp_path / "mine", disk_bytes(tmp_path / "a")
    assert remove_unused(tmp_path, [mine], 4 * size) == ["a"]
    assert remove_unused(tmp_path, [mine], 4 * size) == []
    assert remove_unused(tmp_path, [mine], 0) == ["b", "c"]
    assert sorted(os.listdir(tmp_path)) == ["d", "mine"]


def test_what_goes_leaves_no_note_where_the_folder_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one of the name would be taken for what is noted."""
    old = _made(tmp_path / "old", _LONG_AGO_S)
    (tmp_path / "old.compiled-3.11").touch()
    monkeypatch.setattr(kept_directories, "_names", lambda _folder: ["old"])
    unlistable.make(monkeypatch, tmp_path)
    with pytest.raises(PermissionError):
        remove_unused(tmp_path, [])
    assert old.is_dir()
