"""URLs of places that several processes, and several nodes, are to see."""

from __future__ import annotations

import sys

import pytest

from rekindle import filesystems
from rekindle.exception import InvalidError, SetupError


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
