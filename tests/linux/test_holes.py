"""Copies of files: the same content, and holes that stay holes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rekindle.linux import holes

_MIB = 1 << 20


def test_holes_stay_holes_and_all_else_is_the_same(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    with open(source, "wb") as file:
        for at in (3 * _MIB, 40 * _MIB):
            file.seek(at)
            file.write(os.urandom(_MIB))
        file.truncate(64 * _MIB)
    if source.stat().st_blocks * 512 > 8 * _MIB:
        pytest.skip("this file system has no holes")
    source.chmod(0o750)
    os.utime(source, ns=(1, 2))
    target.write_bytes(b"what was there before")
    holes.copy(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_blocks * 512 < 8 * _MIB
    assert (target.stat().st_mode & 0o777, target.stat().st_mtime_ns) == (0o750, 2)


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(3 * _MIB + 5)])
def test_files_without_holes_are_copied_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "source").write_bytes(content)
    holes.copy_content(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == content


@pytest.mark.parametrize(
    "made", ["/proc/self/status", "/sys/kernel/mm/transparent_hugepage/defrag"]
)
def test_what_the_kernel_makes_when_it_is_read_is_copied_as_it_is_read(
    tmp_path: Path, made: str
) -> None:
    if not os.path.exists(made):
        pytest.skip(f"there is no {made}")
    holes.copy_content(made, tmp_path / "target")
    assert (tmp_path / "target").read_text().split()[:1] == Path(made).read_text().split()[:1]


def test_a_link_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    holes.copy(tmp_path / "link", tmp_path / "other")
    assert os.readlink(tmp_path / "other") == "nowhere"
