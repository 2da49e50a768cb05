"""Two machines' copies of one store's folder: who sees what of the other, and when."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from rekindle.exception import InvalidError, VolumeError, VolumeFileNotFoundError
from rekindle.volumes import remote as module
from rekindle.volumes.registry import Registry, VolumeRecord
from rekindle.volumes.remote import Folder, of_url, of_volume
from rekindle.volumes.store_folder import EMPTIED
from rekindle.volumes.turn import PULLED, Turn
from tests import power_cut
from tests.hung import hung


class Machine:
    """A machine's copy of the store."""

    def __init__(self, root: Path, url: str) -> None:
        files = root / "files"
        files.mkdir(parents=True)
        self.files = files
        self.folder = Folder(files, "the volume 'v'", url)

    def write(self, path: str, text: str) -> None:
        (self.files / path).parent.mkdir(parents=True, exist_ok=True)
        (self.files / path).write_text(text)

    def holds(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.files)): path.read_text()
            for path in sorted(self.files.rglob("*"))
            if path.is_file()
        }


def after_look(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Have a change made when the files were looked at, and nothing was brought or sent yet."""
    look = Turn.look

    def looked(turn: Turn) -> dict[str, list[int]]:
        found = look(turn)
        change()
        return found

    monkeypatch.setattr(Turn, "look", looked)


def within_look(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Have a change made once, when the top directory was listed, and those in it were not."""
    walk = os.fwalk

    def walked(*arguments: Any, **options: Any) -> Iterator[Any]:
        for number, found in enumerate(walk(*arguments, **options)):
            yield found
            if number == 0:
                monkeypatch.setattr(os, "fwalk", walk)
                change()

    monkeypatch.setattr(os, "fwalk", walked)


def _size_and_time(path: Path) -> tuple[int, int]:
    info = path.stat()
    return info.st_size, info.st_mtime_ns


@pytest.fixture
def two(tmp_path: Path) -> tuple[Machine, Machine]:
    """Two machines and the store between them, a directory."""
    url = f"file://{tmp_path / 'store'}"
    return Machine(tmp_path / "one", url), Machine(tmp_path / "two", url)


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
    one.folder.commit()
    other.folder.pull()
    assert other.holds() == {"c": "2"}


def test_the_last_commit_of_a_file_wins_and_others_are_kept(two: tuple[Machine, Machine]) -> None:
    one, other = two
    one.write("same", "one")
    one.write("of one", "1")
    other.write("same", "two, longer")
    other.write("of two", "2")
    one.folder.commit()
    other.folder.commit()
    one.folder.pull()
    other.folder.pull()
    both = {"of one": "1", "of two": "2", "same": "two, longer"}
    assert one.holds() == other.holds() == both


def test_what_was_not_committed_is_never_overwritten(two: tuple[Machine, Machine]) -> None:
    one, other = two
    one.write("file", "first")
    one.folder.commit()
    other.folder.pull()
    other.write("file", "mine, not committed")
    one.write("file", "second")
    one.write("new", "x")
    other.write("new", "mine as well")
    one.folder.commit()
    other.folder.pull()
    assert other.holds() == {"file": "mine, not committed", "new": "mine as well"}
    other.folder.commit()
    one.folder.pull()
    assert one.holds() == other.holds()


@pytest.mark.parametrize("path", ["changed", "removed", "new", "below/new"])
def test_what_is_written_while_a_pull_is_under_way_is_not_overwritten_nor_removed(
    two: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    one, other = two
    one.write("changed", "first")
    one.write("removed", "first")
    one.folder.commit()
    other.folder.pull()
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
    other.folder.commit()
    one.folder.pull()
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
    other.folder.commit()
    one.folder.pull()
    assert one.holds() == other.holds() == {"file": "mine, longer"}


def test_what_was_removed_elsewhere_and_changed_here_comes_back(
    two: tuple[Machine, Machine],
) -> None:
    one, other = two
    one.write("file", "first")
    one.folder.commit()
    other.folder.pull()
    (one.files / "file").unlink()
    one.folder.commit()
    other.write("file", "changed")
    other.folder.pull()
    assert other.holds() == {"file": "changed"}
    other.folder.commit()
    one.folder.pull()
    assert one.holds() == {"file": "changed"}


def test_nothing_of_a_store_is_written_outside_and_links_do_not_travel(
    two: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one, other = two
    (tmp_path / "outside").write_text("not yours")
    (one.files / "link").symlink_to(tmp_path / "outside")
    one.write("plain", "1")
    one.folder.commit()
    other.folder.pull()
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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": "1"}, {"a/b/c": "22", "a/d": "3"}),
        ({"a/b/c": "1", "a/d": "2", "e": "5"}, {"a": "33", "e": "5"}),
    ],
    ids=["a_file_becomes_a_folder", "a_folder_becomes_a_file"],
)
def test_what_changes_its_kind_does_so_in_the_store_and_elsewhere(
    two: tuple[Machine, Machine], before: dict[str, str], after: dict[str, str]
) -> None:
    one, other = two
    for path, text in before.items():
        one.write(path, text)
    one.folder.commit()
    other.folder.pull()
    for path in one.files.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path, text in after.items():
        one.write(path, text)
    one.folder.commit()
    other.folder.pull()
    assert other.holds() == after
    one.folder.pull()
    assert one.holds() == after


def test_what_two_machines_have_changed_the_kind_of_is_no_error(
    two: tuple[Machine, Machine],
) -> None:
    one, other = two
    for path in ("both", "one", "below/both", "below_one/file"):
        one.write(path, "1")
    one.folder.commit()
    other.folder.pull()
    for machine, name in zip(two, ("of one", "of other"), strict=True):
        for path in ("both", "one", "below/both", "below_one/file"):
            (machine.files / path).unlink()
        (machine.files / "below").rmdir()
        (machine.files / "below_one").rmdir()
        machine.write(f"both/{name}", name)
        machine.write("below", name)
    one.write("one/file", "of one")
    one.write("below_one", "of one")
    one.folder.commit()
    other.folder.commit()
    one.folder.pull()
    other.folder.pull()
    of_one = {"both/of one": "of one", "one/file": "of one", "below_one": "of one"}
    last = {"both/of other": "of other", "below": "of other"}
    assert one.holds() == other.holds() == of_one | last


def test_a_folder_here_and_a_file_there_keep_no_other_file_from_travelling(
    two: tuple[Machine, Machine],
) -> None:
    one, other = two
    one.write("file here", "1")
    one.write("folder here/file", "1")
    other.write("file here/file", "2")
    other.write("folder here", "2")
    other.write("plain of other", "2")
    other.folder.commit()
    one.write("plain of one", "1")
    one.folder.pull()
    mine = {"file here": "1", "folder here/file": "1", "plain of one": "1", "plain of other": "2"}
    assert one.holds() == mine
    for _ in range(2):
        with pytest.raises(VolumeError, match="'file here', 'folder here/file' cannot be sent"):
            one.folder.commit()
    other.folder.pull()
    assert other.holds()["plain of one"] == "1"
    (one.files / "file here").rename(one.files / "renamed")
    (one.files / "folder here").rename(one.files / "renamed too")
    one.folder.commit()
    one.folder.pull()
    other.folder.pull()
    assert one.holds() == other.holds()
    assert one.holds()["file here/file"] == "2"
    assert one.holds()["renamed too/file"] == "1"


def test_objects_that_no_file_can_be_called_as_stay_and_keep_no_other_from_travelling(
    tmp_path: Path,
) -> None:
    store = fsspec.filesystem("memory")  # which has any key, as S3 does
    place = f"/{tmp_path.name}"
    odd = [f"{place}/{key}" for key in ("../c", "a/../b", "d/..", "a\0b", "n" * 256, "ü" * 128)]
    for key in (*odd, f"{place}/b", f"{place}/z"):
        store.pipe_file(key, key.encode())
    one = Machine(tmp_path / "one", f"memory:/{place}")
    try:
        one.folder.pull()
        assert one.holds() == {"b": f"{place}/b", "z": f"{place}/z"}
        (one.files / "z").unlink()
        one.folder.push()
        for key in (*odd, f"{place}/b"):
            assert store.cat_file(key) == key.encode()
        assert not store.exists(f"{place}/z")
    finally:
        store.rm(place, recursive=True)


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
            other.folder.commit()
            one.folder.pull()
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
    one.folder.commit()
    one.folder.pull()
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


@pytest.mark.parametrize("left", ["an empty mount point", "nothing"])
def test_a_store_that_is_not_mounted_takes_nothing_along_and_is_given_nothing(
    two: tuple[Machine, Machine], tmp_path: Path, left: str
) -> None:
    one, other = two
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    one.write("file", "1")
    one.folder.commit()
    store.rename(elsewhere)
    if left == "an empty mount point":
        store.mkdir()
    with pytest.raises(VolumeError, match=r"nothing at file:.* where 1 file was.* mount it"):
        one.folder.pull()
    one.write("file", "while it is not mounted")
    one.write("new", "2")
    with pytest.raises(VolumeError, match="mount it"):
        one.folder.push()
    assert one.holds() == {"file": "while it is not mounted", "new": "2"}
    assert not list(store.rglob("*"))
    if store.exists():
        store.rmdir()
    elsewhere.rename(store)
    one.folder.push()
    other.folder.pull()
    assert other.holds() == {"file": "while it is not mounted", "new": "2"}


def test_a_store_from_which_machines_have_removed_every_file_is_empty(
    two: tuple[Machine, Machine],
) -> None:
    one, other = two
    for name in "ab":
        one.write(name, "1")
    one.folder.commit()
    other.folder.pull()
    (one.files / "a").unlink()
    (other.files / "b").unlink()
    for machine in two:
        machine.folder.push()
    for machine in two:
        machine.folder.pull()
        assert machine.holds() == {}
    one.write("new", "2")
    one.folder.commit()
    other.folder.pull()
    assert other.holds() == {"new": "2"}


def test_a_store_that_was_emptied_by_hand_is_empty_once_that_is_said(
    two: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one, _ = two
    one.write("file", "1")
    one.folder.commit()
    (tmp_path / "store" / "file").unlink()
    with pytest.raises(VolumeError, match=f"make a file {EMPTIED} there"):
        one.folder.pull()
    (tmp_path / "store" / EMPTIED).touch()
    one.folder.pull()
    assert one.holds() == {}


def _rename(registry: Registry, record: VolumeRecord) -> None:
    registry.rename(record, "renamed")


def _rename_environment(registry: Registry, record: VolumeRecord) -> None:
    registry.rename_environment(record.environment, "renamed")


def _rename_and_make_another(registry: Registry, record: VolumeRecord) -> None:
    registry.rename(record, "renamed")
    another = registry.create(record.name, record.environment, record.url)
    (another.files / "below").mkdir()
    (another.files / "below" / "file").write_text("of another volume")


def _changed_after_a_push(tmp_path: Path) -> tuple[Registry, VolumeRecord, Folder]:
    """A volume with ``a/b`` and ``below/file``, of which the latter is to be sent again."""
    registry = Registry(tmp_path / "volumes")
    record = registry.create("data", "main", f"file://{tmp_path / 'store'}")
    folder = of_volume(record)
    for name in ("a/b", "below/file"):
        folder.tree.mkdir(name.rpartition("/")[0])
        (record.files / name).write_text("1")
    folder.push()
    (record.files / "below" / "file").write_text("changed")
    return registry, record, folder


@pytest.mark.parametrize("move", [_rename, _rename_environment, _rename_and_make_another])
@pytest.mark.parametrize("during", [within_look, after_look])
def test_a_volume_that_is_renamed_while_it_is_sent_keeps_its_files_here_and_in_the_store(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    move: Callable[[Registry, VolumeRecord], None],
    during: Callable[[pytest.MonkeyPatch, Callable[[], object]], None],
) -> None:
    registry, record, folder = _changed_after_a_push(tmp_path)
    during(monkeypatch, lambda: move(registry, record))
    folder.push()
    monkeypatch.undo()
    moved = registry.by_id(record.id)
    assert (tmp_path / "store" / "a" / "b").read_text() == "1"
    assert (tmp_path / "store" / "below" / "file").read_text() == "changed"
    (moved.files / "new").write_text("written by who has it since before")
    folder.push()
    assert (tmp_path / "store" / "new").exists()
    of_volume(moved).pull()
    assert (moved.files / "a" / "b").read_text() == "1"
    assert (moved.files / "below" / "file").read_text() == "changed"


@pytest.mark.parametrize("during", [within_look, after_look])
def test_a_volume_that_is_deleted_while_it_is_sent_keeps_its_files_in_the_store(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    during: Callable[[pytest.MonkeyPatch, Callable[[], object]], None],
) -> None:
    registry, record, folder = _changed_after_a_push(tmp_path)
    during(monkeypatch, lambda: registry.delete(record))
    with contextlib.suppress(VolumeFileNotFoundError):
        folder.push()
    monkeypatch.undo()
    assert (tmp_path / "store" / "a" / "b").exists()
    assert (tmp_path / "store" / "below" / "file").exists()
    assert {one.name for one in registry.root.rglob("*")} == {".lock", "main"}
    with pytest.raises(VolumeFileNotFoundError, match="was deleted"):
        folder.push()


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
    brought = other.holds()
    assert list(brought.values()) == ["first", "first"]
    for name in brought:
        one.write(name, "second, longer")
    one.folder.commit()
    other.folder.commit()
    one.folder.pull()
    other.folder.pull()
    expected = {name: "second, longer" if name in brought else "first" for name in "abcd"}
    assert one.holds() == other.holds() == expected


#: Is killed when it has brought two files.
_KILLED = """
import os, signal, sys
from pathlib import Path
from rekindle.volumes.remote import Folder
from rekindle.volumes.turn import PULLED, Turn
from tests import power_cut
from tests.hung import hung
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
    one.folder.commit()
    other.folder.pull()
    assert other.holds() == {"file": "longer"}


def test_no_message_shows_the_password_of_a_store(tmp_path: Path) -> None:
    url = "ftp://one:swordfish@127.0.0.1:1/folder"
    folder = of_url(tmp_path / "volumes", url, {})
    with pytest.raises(VolumeError, match=r"ftp://one:\*\*\*@127.0.0.1:1/folder") as of_bucket:
        folder.pull()
    with pytest.raises(VolumeError, match=r"ftp://one:\*\*\*@.* cannot be opened") as of_volume:
        Registry(tmp_path / "volumes").create("v", "main", url)
    assert "swordfish" not in f"{of_bucket.value} {of_volume.value} {folder.label}"


@pytest.mark.needs_root("mounts a file system")
def test_a_folder_of_the_store_that_cannot_be_listed_takes_nothing_along(
    two: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one, _other = two
    one.write("kept", "1")
    one.write("a/file", "2")
    one.folder.commit()
    shutil.rmtree(tmp_path / "store" / "a")
    with hung(tmp_path / "store" / "a") as end:
        end()
        with pytest.raises(VolumeError):
            one.folder.pull()
        assert one.holds() == {"kept": "1", "a/file": "2"}
