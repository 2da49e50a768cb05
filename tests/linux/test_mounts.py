"""Mounts, as the kernel lists them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rekindle.linux import mounts
from rekindle.sdk.local import remains

pytestmark = pytest.mark.needs_root("mounts in this namespace")

#: What the kernel escapes in its list, what it does not, and what is no text at all.
NAMES = ["plain", "two words", "tab\tand\nline", "back\\040slash", "größe", "raw\udcff"]


@pytest.fixture(params=NAMES, ids=ascii)
def mounted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory in which something is mounted."""
    directory = tmp_path / request.param
    point = directory / "on it"
    point.mkdir(parents=True)
    mounts.mount("none", os.fspath(point), "tmpfs")
    yield directory
    with suppress(OSError):
        mounts.unmount(os.fspath(point))


def test_a_mount_is_listed_by_its_path(mounted: Path) -> None:
    assert f"{mounted}/on it" in mounts.points()
    mounts.unmount(f"{mounted}/on it")
    assert f"{mounted}/on it" not in mounts.points()


def test_what_is_mounted_in_what_an_instance_left_goes_with_it(mounted: Path) -> None:
    remains.remove(mounted)
    assert not mounted.exists()
    assert f"{mounted}/on it" not in mounts.points()
