"""URLs of places that several processes, and several nodes, are to see."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rekindle import filesystems
from rekindle.exception import InvalidError, SetupError
from tests.hung import hung


@pytest.mark.parametrize(
    "url",
    ["", "/a/folder", "/a:b/c::d", "file:///a::b", "s3://bucket/a:b", "gs://x", "FTP://host/x"],
)
def test_a_place_that_others_see_may_be_named(url: str) -> None:
    filesystems.check_shared(url, "the store")


def test_a_package_that_is_missing_is_named_before_anything_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    filesystems.check_installed("ftp://192.0.2.1/x", "the store")  # nobody is there
    monkeypatch.setitem(sys.modules, "paramiko", None)
    with pytest.raises(SetupError, match=r"the store sftp://x/y cannot be opened: .*paramiko"):
        filesystems.check_installed("sftp://x/y", "the store")


def test_what_fsspec_writes_otherwise_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(InvalidError, match=r"the store S3://x cannot be used: .*not known: S3"):
        filesystems.check_installed("S3://x", "the store")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("a/folder", "not an absolute path: write file:///where/it/is"),
        ("file://a/folder", "not an absolute path: write file:///where/it/is"),
        ("file:/a", "write file:///where/it/is"),
        ("local:///a", "write file:///where/it/is"),
        ("s3:/bucket", "write s3://"),
        ("memory://x", "is the memory of one process"),
        ("simplecache::s3://bucket", "is a chain, which keeps copies of its own"),
        ("filecache::file:///a", "is a chain, which keeps copies of its own"),
        ("nosuch://x", "Protocol not known: nosuch; name a folder"),
    ],
)
def test_what_others_do_not_see_is_refused_with_what_may_be_named(url: str, said: str) -> None:
    with pytest.raises(InvalidError, match=f"^the store .*{said}"):
        filesystems.check_shared(url, "the store")


def test_files_below_a_place_are_those_of_all_folders_and_of_none_that_is_not_there(
    tmp_path: Path,
) -> None:
    filesystem, place = filesystems.open_url(tmp_path.as_uri(), "the store")
    for name in ("one", "a/two", "a/b/three"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = filesystems.files_below(filesystem, place)
    assert {path: info["size"] for path, info in found.items()} == {
        f"{place}/one": 3,
        f"{place}/a/two": 5,
        f"{place}/a/b/three": 9,
    }
    assert filesystems.files_below(filesystem, f"{place}/none") == {}


@pytest.mark.needs_root("mounts a file system")
def test_a_folder_that_cannot_be_listed_is_an_error_and_not_without_files(tmp_path: Path) -> None:
    filesystem, place = filesystems.open_url(tmp_path.as_uri(), "the store")
    with hung(tmp_path / "lost") as end:
        end()
        with pytest.raises(OSError, match="lost"):
            filesystems.files_below(filesystem, place)


def test_what_is_removed_while_files_are_looked_for_makes_no_other_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filesystem, place = filesystems.open_url(tmp_path.as_uri(), "the store")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("goes", "stays"):
        (folder / name).touch()
    look = filesystem.info

    def goes_first(path: Any, **options: Any) -> Any:
        (folder / "goes").unlink(missing_ok=True)
        return look(path, **options)

    monkeypatch.setattr(filesystem, "info", goes_first)
    assert list(filesystems.files_below(filesystem, place)) == [f"{place}/folder/stays"]


@pytest.mark.parametrize("url", ["s3://bucket/../x", "gs://bucket/a/../b", "sftp://host/a/.."])
def test_a_way_up_in_what_is_no_folder_here_is_refused(url: str) -> None:
    for look in (filesystems.check_shared, filesystems.open_url):
        with pytest.raises(InvalidError, match=r"the store .* cannot be used: .* without '\.\.'"):
            look(url, "the store")
