"""Two machines' copies of one store's folder: who sees what of the other, and when."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from rekindle.exception import InvalidError, VolumeError
from rekindle.volumes import remote as module
from rekindle.volumes.registry import Registry
from rekindle.volumes.remote import of_url
from rekindle.volumes.turn import PULLED, Turn
from tests.volumes.conftest import Machine, after_look


def test_what_one_writes_the_other_sees_after_commit_and_reload(
    two: tuple[Machine, Machine],
) -> None:
    one, other = two
    one.write("a/b", "1")
    other.folder.pull()
    assert other.holds() == {}  # not committed
    one.folder.commit()
    assert other.holds() == {}  # not reloaded
    other.folder.pull()
    assert other.holds() == {"a/b": "1"}
    (one.files / "a/b").unlink()
    one.write("c", "2")
    one.send_to(other)
    assert other.holds() == {"c": "2"}


def test_the_last_commit_of_a_file_wins_and_others_are_kept(two: tuple[Machine, Machine]) -> None:
    one, other = two
    one.write("same", "one")
    one.write("of one", "1")
    other.write("same", "two, longer")
    other.write("of two", "2")
    one.folder.commit()
    other.send_to(one)
    other.folder.pull()
    both = {"of one": "1", "of two": "2", "same": "two, longer"}
    assert one.holds() == other.holds() == both


def test_what_was_not_committed_is_never_overwritten(two: tuple[Machine, Machine]) -> None:
    one, other = two
    one.write("file", "first")
    one.send_to(other)
    other.write("file", "mine, not committed")
    one.write("file", "second")
    one.write("new", "x")
    other.write("new", "mine as well")
    one.send_to(other)
    assert other.holds() == {"file": "mine, not committed", "new": "mine as well"}
    other.send_to(one)
    assert one.holds() == other.holds()


@pytest.mark.parametrize("path", ["changed", "removed", "new", "below/new"])
def test_what_is_written_while_a_pull_is_under_way_is_not_overwritten_nor_removed(
    two: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    one, other = two
    one.write("changed", "first")
    one.write("removed", "first")
    one.send_to(other)
    for name in ("changed", "new", "below/new"):
        one.write(name, "of the other machine")
    (one.files / "removed").unlink()
    one.folder.commit()
    after_look(monkeypatch, lambda: other.write(path, "mine"))
    other.folder.pull()
    monkeypatch.undo()
    assert other.holds()[path] == "mine"
    expected = dict.fromkeys(("below/new", "changed", "new"), "of the other machine")
    assert other.holds() == {**expected, path: "mine"}
    other.send_to(one)
    assert one.holds() == {**expected, path: "mine"}


def test_what_is_written_to_a_file_that_a_pull_has_just_brought_is_sent(
    two: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    one.write("file", "first")
    one.folder.commit()
    note = Turn.note

    def noted(turn: Turn, path: str, entry: list[Any] | None) -> None:
        other.write("file", "mine, longer")
        note(turn, path, entry)

    monkeypatch.setattr(Turn, "note", noted)
    other.folder.pull()
    monkeypatch.undo()
    other.send_to(one)
    assert one.holds() == other.holds() == {"file": "mine, longer"}


def test_what_was_removed_elsewhere_and_changed_here_comes_back(
    two: tuple[Machine, Machine],
) -> None:
    one, other = two
    one.write("file", "first")
    one.send_to(other)
    (one.files / "file").unlink()
    one.folder.commit()
    other.write("file", "changed")
    other.folder.pull()
    assert other.holds() == {"file": "changed"}
    other.send_to(one)
    assert one.holds() == {"file": "changed"}


def test_nothing_of_a_store_is_written_outside_and_links_do_not_travel(
    two: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one, other = two
    (tmp_path / "outside").write_text("not yours")
    (one.files / "link").symlink_to(tmp_path / "outside")
    one.write("plain", "1")
    one.send_to(other)
    assert other.holds() == {"plain": "1"}
    # A link where the store has a folder leads out; what lies there stays as it is.
    (tmp_path / "elsewhere").mkdir()
    (other.files / "folder").symlink_to(tmp_path / "elsewhere")
    one.write("folder/file", "x")
    one.folder.commit()
    with pytest.raises(VolumeError, match="leaves"):
        other.folder.pull()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_start_looks_at_the_store_whatever_was_sent_or_failed_a_moment_ago(
    two: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one, other = two
    one.write("folder/file", "1")
    one.folder.commit()
    (other.files / "folder").symlink_to(tmp_path)
    for _ in range(2):
        with pytest.raises(VolumeError, match="leaves"):
            other.folder.pull_if_old()
    (other.files / "folder").unlink()
    other.write("mine", "x")
    other.folder.commit()  # sends, and looks at nothing
    other.folder.pull_if_old()
    assert other.holds() == {"folder/file": "1", "mine": "x"}


def test_a_start_looks_at_the_store_though_the_clock_was_set_back_since_the_last_look(
    two: tuple[Machine, Machine],
) -> None:
    one, other = two
    other.folder.pull()
    later = time.time() + 3600
    os.utime(other.files.with_name(PULLED), (later, later))
    one.write("file", "1")
    one.folder.commit()
    other.folder.pull_if_old()
    assert other.holds() == {"file": "1"}


def test_a_start_does_not_look_again_where_a_file_servers_clock_is_ahead(
    two: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FRESH_S", 3600.0)
    one, other = two
    other.folder.pull()
    ahead = time.time() + 1800
    os.utime(other.files.with_name(PULLED), (ahead, ahead))
    one.write("file", "1")
    one.folder.commit()
    other.folder.pull_if_old()
    assert other.holds() == {}


def test_a_file_that_is_removed_while_others_are_sent_is_left_out(
    two: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    one.write("a", "1")
    one.write("b", "2")
    after_look(monkeypatch, (one.files / "a").unlink)
    one.folder.commit()
    monkeypatch.undo()
    other.folder.pull()
    assert other.holds() == {"b": "2"}


def test_a_store_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="nonsense://x cannot be used"):
        Machine(tmp_path, "nonsense://x").folder.pull()
    with pytest.raises(InvalidError, match="no URL"):
        of_url(tmp_path, "bucket", {})


def test_no_message_shows_the_password_of_a_store(tmp_path: Path) -> None:
    url = "ftp://one:swordfish@127.0.0.1:1/folder"
    folder = of_url(tmp_path / "volumes", url, {})
    with pytest.raises(VolumeError, match=r"ftp://one:\*\*\*@127.0.0.1:1/folder") as of_bucket:
        folder.pull()
    with pytest.raises(VolumeError, match=r"ftp://one:\*\*\*@.* cannot be opened") as of_volume:
        Registry(tmp_path / "volumes").create("v", "main", url)
    assert "swordfish" not in f"{of_bucket.value} {of_volume.value} {folder.label}"
