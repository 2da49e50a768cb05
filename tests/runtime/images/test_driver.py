"""Which files of a node's driver are shown in images, and how they are found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rekindle.exception import InvalidError
from rekindle.runtime.images import driver
from tests.runtime.images import driver_tree

_LISTED = """\
1204 libs found in cache `/etc/ld.so.cache'
\tlibcuda.so.1 (libc6) => /usr/lib/i386-linux-gnu/libcuda.so.1
\tlibcuda.so.1 (libc6,x86-64) => /opt/driver/lib/libcuda.so.1
\tlibcuda.so (libc6,x86-64) => /opt/other/libcuda.so
\tlibc.so.6 (libc6,x86-64) => /lib/x86_64-linux-gnu/libc.so.6
"""


def test_it_has_what_computing_needs_under_all_names_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(driver.VARIABLE, str(tmp_path / "node"))
    driver_tree.make(tmp_path / "node")
    made = driver.provide(tmp_path / "kept")
    assert made is not None
    version = driver_tree.VERSION
    names = ("cuda", "nvidia-ml", "nvidia-ptxjitcompiler")
    assert sorted(path.name for path in (made / "lib").iterdir()) == sorted(
        [*(f"lib{one}.so.1" for one in names), *(f"lib{one}.so.{version}" for one in names)]
        + ["libcuda.so"]
    )
    for name in ("libcuda.so", "libcuda.so.1"):
        assert os.readlink(made / "lib" / name) == f"libcuda.so.{version}"
    assert os.access(made / "bin" / "nvidia-smi", os.X_OK)
    assert list((tmp_path / "kept").iterdir()) == [made]


def test_it_is_made_once_a_version_of_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(driver.VARIABLE, str(tmp_path / "node"))
    folder = driver_tree.make(tmp_path / "node")
    made = driver.provide(tmp_path / "kept")
    assert driver.provide(tmp_path / "kept") == made
    newer = folder / "libcuda.so.570.1"
    newer.write_bytes(b"newer")
    (folder / "libcuda.so.1").unlink()
    (folder / "libcuda.so.1").symlink_to(newer.name)
    again = driver.provide(tmp_path / "kept")
    assert again is not None and again != made
    assert (again / "lib" / "libcuda.so.1").read_bytes() == b"newer"


def test_the_loaders_cache_says_where_it_is_for_this_machine() -> None:
    assert list(driver.of_cache(_LISTED, "x86-64")) == [Path("/opt/driver/lib")]
    assert list(driver.of_cache("", "x86-64")) == []


def test_a_place_that_is_named_and_has_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(driver.VARIABLE, str(tmp_path))
    with pytest.raises(InvalidError, match=r"there is no libcuda\.so\.1"):
        driver.provide(tmp_path / "kept")
