"""A directory as one file and back, by EROFS and as an archive."""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from pathlib import Path

import pytest

from rekindle.blobs import archive, erofs, layers
from rekindle.blobs.layers import Packing
from rekindle.exception import LayerError, SetupError

pytestmark = pytest.mark.needs_root("makes devices, and mounts")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """With all that layers of overlayfs have."""
    root = tmp_path / "tree"
    (root / "a" / "empty").mkdir(parents=True)
    (root / "a" / "file").write_bytes(os.urandom(70_000))
    os.link(root / "a" / "file", root / "second name")
    (root / "link").symlink_to("a/file")
    (root / "program").write_text("#!/bin/sh\n")
    (root / "program").chmod(0o4755)
    os.mknod(root / "removed", stat.S_IFCHR, os.makedev(0, 0))  # a whiteout
    os.setxattr(root / "a", "trusted.overlay.opaque", b"y")
    os.chown(root / "a" / "empty", 12, 34)
    os.utime(root / "a" / "file", ns=(5, 1_234_567_890_123_456_789))
    return root


def _seen(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        content: object = path.read_bytes() if stat.S_ISREG(info.st_mode) else ""
        if stat.S_ISLNK(info.st_mode):
            content = os.readlink(path)
        links = info.st_nlink if stat.S_ISREG(info.st_mode) else 0
        when = info.st_mtime_ns if stat.S_ISREG(info.st_mode) else 0
        name = str(path.relative_to(root))
        owner = (info.st_uid, info.st_gid)
        xattrs = [
            (key, os.getxattr(path, key, follow_symlinks=False))
            for key in os.listxattr(path, follow_symlinks=False)
        ]
        found[name] = (info.st_mode, owner, links, info.st_rdev, when, content, xattrs)
    return found


def test_an_archive_has_all_of_a_directory(tree: Path, tmp_path: Path) -> None:
    assert layers.pack_layer(tree, tmp_path / "one", Packing.TAR) is Packing.TAR
    layers.pack_layer(tree, tmp_path / "two", Packing.TAR)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    (tmp_path / "back").mkdir()
    archive.unpack(tmp_path / "one", tmp_path / "back")
    assert _seen(tmp_path / "back") == _seen(tree)


def test_an_erofs_file_has_all_of_a_directory(tree: Path, tmp_path: Path) -> None:
    try:
        layers.pack_layer(tree, tmp_path / "one", Packing.EROFS)
    except SetupError as error:
        pytest.skip(str(error))
    (tmp_path / "place").mkdir()
    erofs.mount(tmp_path / "one", tmp_path / "place")
    try:
        assert _seen(tmp_path / "place") == _seen(tree)
    finally:
        erofs.unmount(tmp_path / "place")


@pytest.mark.parametrize("name", ["../out", "a/../../out", "link/inside"])
def test_an_archive_that_leads_out_of_its_place_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").mkdir()
    with tarfile.open(tmp_path / "bad", "x") as made:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
        made.addfile(link)
        made.addfile(tarfile.TarInfo(name))
    (tmp_path / "place").mkdir()
    with pytest.raises(LayerError, match="leads out"):
        archive.unpack(tmp_path / "bad", tmp_path / "place")
    assert list((tmp_path / "outside").iterdir()) == []


def test_what_cannot_be_mounted_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(bytes(1 << 16))
    (tmp_path / "place").mkdir()
    with pytest.raises(LayerError, match=r"file cannot be mounted at .*place"):
        erofs.mount(tmp_path / "file", tmp_path / "place")

    def without_erofs(*_arguments: object) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr("rekindle.blobs.erofs.mounts.mount", without_erofs)
    with pytest.raises(LayerError, match="doctor` says whether this kernel has EROFS"):
        erofs.mount(tmp_path / "file", tmp_path / "place")


def test_an_erofs_file_is_unpacked_where_it_cannot_be_mounted(tree: Path, tmp_path: Path) -> None:
    try:
        layers.pack_layer(tree, tmp_path / "one", Packing.EROFS)
        erofs.unpack(tmp_path / "one", tmp_path / "place")
    except SetupError as error:
        pytest.skip(str(error))
    assert _seen(tmp_path / "place") == _seen(tree)
