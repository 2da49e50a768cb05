"""What is left among volumes goes in the end, and nothing that somebody has or a store has not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rekindle.volumes import leftovers
from rekindle.volumes.leftovers import remove_leftovers
from rekindle.volumes.registry import Registry
from rekindle.volumes.remote import Folder, of_url
from rekindle.volumes.store_folder import EMPTIED

_DAY_S = 86400.0

_KILLED = """
import os, signal, sys
from pathlib import Path
from rekindle.volumes import registry
from rekindle.volumes.staging import Staging
from rekindle.volumes.tree import Tree

volumes = registry.Registry(Path(sys.argv[1]))
kept = Tree(volumes.find("kept", "main").files, "kept")

def die(*_of, **_named):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "write":
    with kept.write("below/file") as file:
        file.write(b"half")
        file.flush()
        die()
elif sys.argv[2] == "upload":
    with Staging(kept) as staging, staging.file("file", 0o644) as file:
        die()
else:
    registry.shutil.rmtree = die
    volumes.delete(volumes.find("deleted", "main"))
"""


def _nobody(_names: list[str]) -> set[str]:
    return set()


def _all_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def _days_pass(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    now = time.time()
    monkeypatch.setattr(leftovers.time, "time", lambda: now + days * _DAY_S)


def test_what_killed_processes_left_goes_after_a_week_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "volumes"
    registry = Registry(root)
    kept, deleted = (registry.create(name, "main") for name in ("kept", "deleted"))
    (kept.files / "below").mkdir()
    (kept.files / "below" / "whole").write_text("content")
    (kept.files / EMPTIED).touch()
    (deleted.files / "large").write_text("content")
    before = _all_below(root) - {str(path.relative_to(root)) for path in deleted.place.rglob("*")}
    before -= {str(deleted.place.relative_to(root))}
    for what in ("write", "upload", "delete"):
        command = [sys.executable, "-c", _KILLED, str(root), what]
        assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    assert not deleted.place.exists()
    left = _all_below(root)
    _days_pass(monkeypatch, 6)
    assert remove_leftovers(root, _nobody) == 0
    assert _all_below(root) - {leftovers._LOOKED} == left
    _days_pass(monkeypatch, 8)
    assert remove_leftovers(root, _nobody) == 3
    assert _all_below(root) - {leftovers._LOOKED} == before


def test_volumes_are_looked_through_once_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "volumes"
    assert remove_leftovers(root, _nobody) == 0 and not root.exists()
    Registry(root).create("v", "main")
    assert remove_leftovers(root, _nobody) == 0
    monkeypatch.setattr(leftovers, "_LEFTOVER_S", -1.0)
    (root / f"{leftovers.FOLDER_DRAFT}left").mkdir()
    assert remove_leftovers(root, _nobody) == 0
    _days_pass(monkeypatch, 1.1)
    assert remove_leftovers(root, _nobody) == 1


def _copy(root: Path, store: Path) -> Folder:
    store.mkdir()
    (store / "file").write_text("content")
    folder = of_url(root, store.as_uri(), {})
    folder.pull()
    return folder


def test_a_copy_of_a_store_goes_when_nobody_has_used_it_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "volumes"
    folder = _copy(root, tmp_path / "store")
    _days_pass(monkeypatch, 29)
    assert remove_leftovers(root, _nobody) == 0
    _days_pass(monkeypatch, 31)
    assert remove_leftovers(root, set) == 0  # processes have it
    assert (folder.files / "file").read_text() == "content"
    _days_pass(monkeypatch, 33)
    assert remove_leftovers(root, _nobody) == 1
    assert not folder.files.exists() and (tmp_path / "store" / "file").exists()
    again = of_url(root, (tmp_path / "store").as_uri(), {})
    again.pull()
    assert (again.files / "file").read_text() == "content"


_TAKES_A_TURN = """
import sys
from pathlib import Path
from rekindle.volumes.remote import of_url

getattr(of_url(Path(sys.argv[1]), sys.argv[2], {}), sys.argv[3])()
"""


def _waits_for_a_lock(pid: int) -> bool:
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(words[1] == "->" and words[5] == str(pid) for words in lines)


@pytest.mark.parametrize("what", ["push", "pull"])
def test_who_waits_for_a_copy_that_is_being_removed_gets_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """What is removed of the old one is neither removed from the store nor missing in the new."""
    root, store = tmp_path / "volumes", tmp_path / "store"
    folder = _copy(root, store)
    command = [sys.executable, "-c", _TAKES_A_TURN, str(root), store.as_uri(), what]
    waiting: list[subprocess.Popen[bytes]] = []
    remove = leftovers.shutil.rmtree

    def begin_to_wait(_root: Path) -> Path:
        waiting.append(subprocess.Popen(command))
        while not _waits_for_a_lock(waiting[0].pid):
            assert waiting[0].poll() is None
            time.sleep(0.01)
        waiting[0].send_signal(signal.SIGSTOP)
        return root / f"{leftovers.FOLDER_DRAFT}removed"

    def remove_before_the_other_goes_on(place: Path, **options: bool) -> None:
        for file in (place / "files").iterdir():
            file.unlink()
        waiting[0].send_signal(signal.SIGCONT)
        assert waiting[0].wait(timeout=60) == 0
        remove(place, **options)

    monkeypatch.setattr(leftovers, "folder_draft", begin_to_wait)
    monkeypatch.setattr(leftovers.shutil, "rmtree", remove_before_the_other_goes_on)
    _days_pass(monkeypatch, 31)
    assert remove_leftovers(root, _nobody) == 1
    assert (store / "file").read_text() == "content"
    if what == "pull":
        assert (folder.files / "file").read_text() == "content"


def test_a_copy_that_another_process_has_removed_keeps_no_other_from_going(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "volumes"
    folders = [_copy(root, tmp_path / name) for name in ("one", "two", "three")]

    def remove_one(names: list[str]) -> set[str]:
        shutil.rmtree(folders[0].files.parent)
        shutil.rmtree(folders[1].files)
        return set()

    _days_pass(monkeypatch, 31)
    monkeypatch.setattr(leftovers, "_is_unused", lambda _place: True)
    assert remove_leftovers(root, remove_one) == 1
    assert not folders[2].files.exists()


@pytest.mark.parametrize("change", ["written", "changed", "removed"])
def test_a_copy_that_has_what_its_store_has_not_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    root = tmp_path / "volumes"
    folder = _copy(root, tmp_path / "store")
    if change == "removed":
        os.unlink(folder.files / "file")
    else:
        (folder.files / ("new" if change == "written" else "file")).write_text("more content")
    _days_pass(monkeypatch, 31)
    assert remove_leftovers(root, _nobody) == 0 and folder.files.exists()
    folder.push()
    _days_pass(monkeypatch, 64)
    assert remove_leftovers(root, _nobody) == 1 and not folder.files.exists()
