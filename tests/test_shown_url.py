"""Passwords of URLs are not shown, and nothing else is hidden."""

from __future__ import annotations

import pytest

from rekindle.shown_url import reason, without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sftp://one:swordfish@host/folder", "sftp://one:***@host/folder"),
        ("redis://:swordfish@host:6379/0", "redis://:***@host:6379/0"),
        ("ftp://one:sword@f:i#s?h@host:21/a@b:c", "ftp://one:***@host:21/a@b:c"),
        ("simplecache::smb://one:swordfish@host/x", "simplecache::smb://one:***@host/x"),
        ("sftp:one:swordfish@host/x", "sftp:one:***@host/x"),
        (
            "unix:///run/redis.sock?db=1&password=swordfish",
            "unix:///run/redis.sock?db=1&password=***",
        ),
        ("no way to ftp://one:swordfish@host: it ended", "no way to ftp://one:***@host: it ended"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        *("", "/a/path:with@signs", "file:///a:b@c", "s3://bucket/a:b@c", "redis://host:6379/0"),
        *("sftp://one@host:22/x", "C:/x@y", "memory://x"),
    ],
)
def test_what_has_none_is_as_it_was(url: str) -> None:
    assert without_password(url) == url


def test_an_error_is_told_without_a_password_and_by_its_type_where_it_says_nothing() -> None:
    error = OSError("no way to ftp://one:swordfish@host")
    assert reason(error) == "no way to ftp://one:***@host"
    assert reason(TimeoutError()) == "TimeoutError"
