"""What a directory takes of the disk."""

from __future__ import annotations

import os
from pathlib import Path

from rekindle.linux.disk_use import disk_bytes, inodes

_SIZE = 1 << 20


def test_a_file_counts_once_by_however_many_names_it_is_there(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    (tree / "below").mkdir(parents=True)
    first = tree / "first"
    first.write_bytes(os.urandom(_SIZE))
    alone = disk_bytes(tree)
    assert _SIZE <= alone < 2 * _SIZE
    (tree / "below" / "second").hardlink_to(first)
    outside.hardlink_to(first)
    assert disk_bytes(tree) == alone
    (one,) = inodes(tree).values()
    assert (one.disk_bytes, one.names_here, one.names) == (alone, 2, 3)


def test_holes_and_what_links_point_to_take_nothing(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    tree.mkdir()
    outside.write_bytes(os.urandom(_SIZE))
    (tree / "link").symlink_to(outside)
    with open(tree / "sparse", "wb") as file:
        file.truncate(_SIZE)
    assert disk_bytes(tree) < _SIZE
    assert disk_bytes(tmp_path / "none") == 0
