"""The copies that settle and renew memory objects: all of the content, or an error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rekindle.forkserver import shared_memory


def test_a_copy_has_the_content_and_the_holes(tmp_path: Path) -> None:
    source = os.open(tmp_path / "source", os.O_RDWR | os.O_CREAT)
    target = os.memfd_create("target")
    os.ftruncate(source, 1 << 20)
    os.pwrite(source, b"end", (1 << 19) + 5)
    os.ftruncate(target, 1 << 20)
    shared_memory._copy_file(source, target)
    assert os.pread(target, 3, (1 << 19) + 5) == b"end"
    assert os.fstat(target).st_blocks * 512 < 1 << 19
    os.close(source)
    os.close(target)


def test_what_cannot_be_read_is_not_taken_for_a_hole(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"content")
    source = os.open(tmp_path / "source", os.O_PATH)  # which gives no content
    target = os.memfd_create("target")
    with pytest.raises(OSError, match="Bad file descriptor"):
        shared_memory._copy_file(source, target)
    os.close(source)
    os.close(target)
