"""Work inside a folder that no path leaves."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from rekindle.exception import (
    InvalidError,
    NotFoundError,
    VolumeError,
    VolumeFileExistsError,
    VolumeFileNotFoundError,
    VolumePathError,
)
from rekindle.volumes.staging import Staging
from rekindle.volumes.tree import FileEntryType, Tree
from tests import exhausted


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A folder with another one beside it, and links that lead there."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("not yours")
    inside = tmp_path / "inside"
    (inside / "folder").mkdir(parents=True)
    (inside / "folder" / "file").write_text("yours")
    (inside / "up").symlink_to("../outside")
    (inside / "far").symlink_to(tmp_path / "outside")
    (inside / "folder" / "far").symlink_to("../../outside/secret")
    (inside / "near").symlink_to("folder")
    return Tree(inside, "the volume 'v'")


OUT = (
    "../outside/secret",
    "/../outside/secret",
    "folder/../../outside/secret",
    "up/secret",
    "far/secret",
    "folder/far",
    "near/far",
    "near/../../outside/secret",
)


@pytest.mark.parametrize("path", OUT)
def test_no_path_leaves_it_by_any_operation(tree: Tree, path: str) -> None:
    secret = tree.root.parent / "outside" / "secret"
    for attempt in (
        lambda: list(tree.read(path)),
        lambda: list(tree.listdir(os.path.dirname(path))) if "far" not in path[-3:] else _leaves(),
        lambda: list(tree.listdir(path)),
        lambda: tree.copy([path], "copied"),
        lambda: tree.copy(["folder/file"], f"{path}/"),
        lambda: tree.mkdir(f"{path}/made"),
        lambda: tree.exists(path),
    ):
        with pytest.raises(VolumePathError, match="leaves the volume 'v'"):
            attempt()
    if not path.endswith("/far"):  # a link itself may be replaced and removed
        for change in (lambda: _write(tree, path), lambda: tree.remove(path)):
            with pytest.raises(VolumePathError, match="leaves"):
                change()
    assert secret.read_text() == "not yours"
    assert sorted(os.listdir(secret.parent)) == ["secret"]


def _leaves() -> None:
    raise VolumePathError("leaves the volume 'v'")


def _write(tree: Tree, path: str, data: bytes = b"mine") -> None:
    with tree.write(path) as file:
        file.write(data)


def test_links_that_stay_inside_are_followed_and_removed_as_links(tree: Tree) -> None:
    assert b"".join(tree.read("near/file")) == b"yours"
    tree.remove("far")
    tree.remove("near")
    assert [entry.path for entry in tree.listdir("/")] == ["folder", "up"]
    assert (tree.root.parent / "outside" / "secret").exists()
    tree.remove("folder", recursive=True)  # with the link in it, not what that leads to
    assert (tree.root.parent / "outside" / "secret").exists()


def test_a_listing_names_everything_with_its_kind(tree: Tree) -> None:
    found = {one.path: one.type for one in tree.listdir("", recursive=True)}
    assert found == {
        "far": FileEntryType.SYMLINK,
        "folder": FileEntryType.DIRECTORY,
        "folder/far": FileEntryType.SYMLINK,
        "folder/file": FileEntryType.FILE,
        "near": FileEntryType.SYMLINK,
        "up": FileEntryType.SYMLINK,
    }
    (one,) = tree.listdir("/folder/file")
    assert (one.path, one.size) == ("folder/file", 5)


def test_what_is_not_there_or_of_another_kind_is_said(tree: Tree) -> None:
    with pytest.raises(FileNotFoundError, match="no 'folder/none' in the volume"):
        list(tree.read("folder/none"))
    with pytest.raises(NotFoundError):
        tree.remove("none")
    os.mkfifo(tree.root / "pipe")
    for path in ("folder", "pipe"):
        with pytest.raises(VolumePathError):
            list(tree.read(path))
    with pytest.raises(VolumePathError, match="recursive=True"):
        tree.remove("folder")
    with pytest.raises(VolumePathError):
        _write(tree, "folder/file/below")
    with pytest.raises(InvalidError):
        list(tree.listdir("a\0b"))


def test_a_file_is_the_old_one_or_the_new_one_for_whoever_reads(tree: Tree) -> None:
    versions = [bytes([letter]) * 200_000 for letter in b"ab"]
    _write(tree, "busy", versions[0])
    ended = threading.Event()

    def rewrite() -> None:
        try:
            for number in range(100):
                _write(tree, "busy", versions[number % 2])
        finally:
            ended.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = 0
    while not ended.is_set() or not seen:
        assert b"".join(tree.read("busy")) in versions
        assert all(".rekindle" not in one.path for one in tree.listdir("/"))
        seen += 1
    writer.join()
    assert list(tree.root.glob(".rekindle*")) == []


def test_what_fails_half_way_leaves_nothing(tree: Tree) -> None:
    with pytest.raises(ZeroDivisionError), tree.write("new") as file:
        file.write(b"half")
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), Staging(tree) as staging:
        with staging.file("new", 0o644) as file:
            file.write(b"half")
        raise ZeroDivisionError
    assert not tree.exists("new") and list(tree.root.glob(".rekindle*")) == []


def test_without_force_nothing_is_replaced(tree: Tree) -> None:
    with pytest.raises(FileExistsError), tree.write("folder/file", force=False) as file:
        file.write(b"other")
    with Staging(tree) as staging:
        with staging.file("folder/file", 0o644) as file:
            file.write(b"other")
        with pytest.raises(VolumeFileExistsError):
            staging.place(force=False)
    assert b"".join(tree.read("folder/file")) == b"yours"


def test_files_and_directories_are_copied(tree: Tree) -> None:
    tree.copy(["folder/file"], "one")
    tree.copy(["folder/file", "one"], "folder/new/")
    tree.copy(["folder"], "again", recursive=True)
    for path in ("one", "folder/new/file", "folder/new/one", "again/file", "again/new/one"):
        assert b"".join(tree.read(path)) == b"yours"
    for sources, target in ((["folder"], "x"), (["one", "folder/file"], "x")):
        with pytest.raises(VolumePathError):
            tree.copy(sources, target)
    with pytest.raises(VolumePathError, match="into itself"):
        tree.copy(["folder"], "folder/inner", recursive=True)


def test_links_are_copied_as_links_and_what_else_is_no_file_is_said(tree: Tree) -> None:
    leads_to = {"link": "file", "out": "/etc", "gone": "\udcff", "own": "."}
    for name, place in leads_to.items():
        os.symlink(place, tree.root / "folder" / name)
    for _ in range(2):  # the second time they are there
        tree.copy(["folder"], "into/", recursive=True)
    copied = tree.root / "into" / "folder"
    assert (
        leads_to.items()
        <= {one.name: os.readlink(one) for one in copied.iterdir() if one.is_symlink()}.items()
    )
    assert b"".join(tree.read("into/folder/link")) == b"yours"
    os.mkfifo(tree.root / "folder" / "pipe")
    with pytest.raises(VolumePathError, match=r"folder/pipe.* is no file that can be read"):
        tree.copy(["folder"], "third", recursive=True)


def test_a_deleted_folder_is_said(tree: Tree) -> None:
    os.rename(tree.root, tree.root.with_name("gone"))
    with pytest.raises(VolumeFileNotFoundError, match="was deleted"):
        list(tree.listdir("/"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO], ids=errno.errorcode.get)
def test_a_folder_that_cannot_be_listed_is_no_empty_one(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.open

    def fails(path: object, *args: Any, **options: Any) -> int:
        if path == "folder":
            raise OSError(number, os.strerror(number))
        return real(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(VolumeError, match=f"'folder' cannot be listed: {os.strerror(number)}"):
        list(tree.listdir("/", recursive=True))


def test_a_listing_without_descriptors_is_an_error(tree: Tree) -> None:
    whole = [one.path for one in tree.listdir("/", recursive=True)]
    refused = 0
    for left in range(16):  # wherever in the listing they come to an end
        with exhausted.descriptors(left):
            try:
                found = [one.path for one in tree.listdir("/", recursive=True)]
            except (VolumeError, OSError) as error:
                assert "Too many open files" in str(error)
                refused += 1
            else:
                assert found == whole
    assert 0 < refused < 16
