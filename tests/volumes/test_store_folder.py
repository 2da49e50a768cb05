"""What the folder of a store has and can have, as two machines with copies of it see that."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from rekindle.exception import VolumeError
from rekindle.volumes.store_folder import EMPTIED
from tests.alarms import too_late
from tests.hung import hung
from tests.volumes.conftest import Machine


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
    one.send_to(other)
    for path in one.files.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path, text in after.items():
        one.write(path, text)
    one.send_to(other)
    assert other.holds() == after
    one.folder.pull()
    assert one.holds() == after


def test_an_alarm_while_bare_folders_are_removed_goes_on_its_way_and_the_next_commit_removes_them(
    two: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    one.write("a/b/c", "1")
    one.send_to(other)
    shutil.rmtree(one.files / "a")
    one.write("a", "22")
    with too_late(monkeypatch, LocalFileSystem, "rmdir"):
        one.folder.commit()
    one.send_to(other)
    assert other.holds() == {"a": "22"}


def test_what_two_machines_have_changed_the_kind_of_is_no_error(
    two: tuple[Machine, Machine],
) -> None:
    one, other = two
    for path in ("both", "one", "below/both", "below_one/file"):
        one.write(path, "1")
    one.send_to(other)
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
    other.send_to(one)
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
    one.send_to(one)
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
    one.send_to(other)
    (one.files / "a").unlink()
    (other.files / "b").unlink()
    for machine in two:
        machine.folder.push()
    for machine in two:
        machine.folder.pull()
        assert machine.holds() == {}
    one.write("new", "2")
    one.send_to(other)
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
