"""What was seen of a copy at the last time: after a kill, after a power cut, in a backup of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rekindle.exception import VolumeError
from rekindle.volumes.remote import Folder
from rekindle.volumes.store_folder import StoreFolder
from rekindle.volumes.tree import DRAFT
from rekindle.volumes.turn import Turn
from tests import power_cut
from tests.volumes.conftest import Machine


@power_cut.needed
@pytest.mark.parametrize("had_some", [False, True])
@pytest.mark.parametrize("sends", [False, True])
def test_after_a_power_cut_nothing_counts_as_changed_that_was_brought_or_sent(
    tmp_path: Path, sends: bool, had_some: bool
) -> None:
    url = f"file://{tmp_path / 'store'}"
    other = Machine(tmp_path / "other", url)
    with power_cut.mounted(tmp_path) as disk:
        one = Machine(disk.root / "one", url)
        if had_some:
            other.write("file", "1")
            other.send_to(one)
            os.sync()
        writes = one if sends else other
        writes.write("file", "new")
        writes.write("more", "new, too")
        writes.folder.commit()
        if not sends:
            one.folder.pull()
        disk.cut_power()
        assert one.holds() == {"file": "new", "more": "new, too"}
        other.folder.pull()
        other.write("more", "newer")
        other.folder.commit()
        one.folder.commit()  # has nothing to send
        one.folder.pull()
        assert one.holds() == {"file": "new", "more": "newer"}


@power_cut.needed
def test_after_a_power_cut_in_a_pull_of_many_files_none_is_noted_whose_content_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{tmp_path / 'store'}"
    other = Machine(tmp_path / "other", url)
    files = {f"{number % 7}/{number}": f"content of {number}" for number in range(100)}
    for path, content in files.items():
        other.write(path, content)
    other.folder.commit()
    note, noted = Turn.note, 0

    class _PowerCutError(Exception):
        pass

    def note_some(turn: Turn, path: str, entry: list[Any] | None) -> None:
        nonlocal noted
        note(turn, path, entry)
        noted += 1
        if noted == 80:  # in the midst of those that are put into their places together
            raise _PowerCutError

    with power_cut.mounted(tmp_path) as disk:
        one = Machine(disk.root / "one", url)
        with monkeypatch.context() as cut, pytest.raises(VolumeError):
            cut.setattr(Turn, "note", note_some)
            one.folder.pull()
        disk.cut_power()
        brought = one.holds()
        assert len(brought) >= 80 and brought.items() <= files.items()
        one.folder.pull()
        assert one.holds() == files
        one.folder.commit()
        other.folder.pull()
        assert other.holds() == files


def test_files_before_one_that_cannot_be_brought_are_in_their_places(
    two: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    for name in "abc":
        one.write(name, name)
    one.folder.commit()
    opened = StoreFolder.open

    def fails(store: StoreFolder, path: str) -> Any:
        if path == "c":
            raise OSError("the store is away")
        return opened(store, path)

    with monkeypatch.context() as away, pytest.raises(VolumeError, match="the store is away"):
        away.setattr(StoreFolder, "open", fails)
        other.folder.pull()
    assert other.holds() == {"a": "a", "b": "b"}
    one.write("a", "newer")
    one.send_to(other)
    assert other.holds() == {"a": "newer", "b": "b", "c": "c"}


def test_files_that_a_copy_of_a_folder_lacks_are_brought_and_not_removed_from_the_store(
    two: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one, other = two
    for name in "abc":
        one.write(name, name)
    one.folder.commit()
    half = tmp_path / "half" / "files"
    shutil.copytree(one.files.parent, half.parent)
    (half / "b").unlink()  # the copy was cut off
    copied = Folder(half, "the volume 'v'", one.folder.url)
    copied.push()
    copied.pull()
    other.folder.pull()
    assert other.holds() == {"a": "a", "b": "b", "c": "c"}
    assert (half / "b").read_text() == "b"
    (half / "c").unlink()  # by who uses it
    copied.push()
    moved = Folder(half.parent.rename(tmp_path / "moved") / "files", "v", one.folder.url)
    (moved.files / "b").unlink()
    moved.push()
    other.folder.pull()
    assert other.holds() == {"a": "a"}


def _size_and_time(path: Path) -> tuple[int, int]:
    info = path.stat()
    return info.st_size, info.st_mtime_ns


def test_files_that_a_copy_lacks_which_was_put_back_in_place_are_brought(
    two: tuple[Machine, Machine], tmp_path: Path
) -> None:
    """As ``rsync -a --delete`` does it: what has the same size and time is left alone."""
    one, other = two
    one.write("a", "1")
    one.folder.commit()
    copy, place = tmp_path / "copy", one.files.parent
    shutil.copytree(one.files, copy / "files")
    one.write("b", "2")
    one.folder.commit()  # while the copy was made: what was seen is newer than the files
    for path in place.glob("sync.*"):
        shutil.copy2(path, copy)
    one.write("c", "3")
    one.folder.commit()
    for path in [path for path in place.rglob("*") if path.is_file()]:
        copied = copy / path.relative_to(place)
        if not copied.exists():
            path.unlink()
        elif _size_and_time(path) != _size_and_time(copied):
            shutil.copy2(copied, path.with_name("draft"))
            path.with_name("draft").rename(path)
    assert one.holds() == {"a": "1"}
    one.send_to(one)
    other.folder.pull()
    assert one.holds() == other.holds() == {"a": "1", "b": "2", "c": "3"}


def test_a_folder_that_is_gone_takes_nothing_of_the_store_along(
    two: tuple[Machine, Machine],
) -> None:
    one, other = two
    one.write("file", "1")
    one.folder.commit()
    one.files.rename(one.files.with_name("elsewhere"))
    with pytest.raises(VolumeError, match="cannot be made the same"):
        one.folder.push()
    other.folder.pull()
    assert other.holds() == {"file": "1"}


def test_what_a_killed_pull_had_brought_is_not_sent_over_what_is_newer(
    two: tuple[Machine, Machine],
) -> None:
    one, other = two
    for name in "abcd":
        one.write(name, "first")
    one.folder.commit()
    ended = subprocess.run(
        [sys.executable, "-c", _KILLED, str(other.files), other.folder.url], check=False
    )
    assert ended.returncode == -signal.SIGKILL
    drafts = [path for path in other.files.iterdir() if path.name.startswith(DRAFT)]
    for path in drafts:  # of those that had not got to their places; others remove them in time
        path.unlink()
    brought = other.holds()
    assert list(brought.values()) == ["first", "first"]
    for name in brought:
        one.write(name, "second, longer")
    one.folder.commit()
    other.send_to(one)
    other.folder.pull()
    expected = {name: "second, longer" if name in brought else "first" for name in "abcd"}
    assert one.holds() == other.holds() == expected


#: Is killed when it has brought two files.
_KILLED = """
import os, signal, sys
from pathlib import Path
from rekindle.volumes.remote import Folder
from rekindle.volumes.turn import Turn
note, noted = Turn.note, []
def count(turn, path, entry):
    note(turn, path, entry)
    noted.append(path)
    if len(noted) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Turn.note = count
Folder(Path(sys.argv[1]), "the volume 'v'", sys.argv[2]).pull()
"""


def test_a_line_of_what_was_seen_that_a_kill_cut_off_is_passed_over(
    two: tuple[Machine, Machine],
) -> None:
    one, other = two
    one.write("file", "1")
    one.folder.commit()
    other.files.with_name("sync.changes").write_text('["gone before", [1, 2, "x"]]\n["fil')
    other.folder.pull()
    assert other.holds() == {"file": "1"}
    one.write("file", "longer")
    one.send_to(other)
    assert other.holds() == {"file": "longer"}
