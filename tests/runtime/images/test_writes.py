"""What was written to a root, as one file: what was removed stays removed."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from rekindle.runtime.images import writes


@pytest.mark.needs_root("makes marks of overlayfs")
def test_files_links_modes_times_and_what_was_removed_come_back(tmp_path: Path) -> None:
    upper, images = tmp_path / "upper", tmp_path / "images"
    (upper / "etc" / "empty").mkdir(parents=True)
    images.mkdir()
    file = upper / "etc" / "file"
    file.write_bytes(os.urandom(100_000))
    os.chown(file, 12, 34)
    file.chmod(0o4750)
    os.setxattr(file, "user.note", b"\xff\x00")
    (upper / "link").symlink_to("/nowhere")
    os.link(file, upper / "etc" / "again")
    os.mknod(upper / "etc" / "removed", stat.S_IFCHR, os.makedev(0, 0))
    os.setxattr(upper / "etc" / "empty", "trusted.overlay.opaque", b"y")
    os.setxattr(upper, "trusted.overlay.origin", b"of one mount")
    os.utime(upper / "etc", (1000, 2000))
    writes.pack(upper, images)
    there = tmp_path / "there"
    writes.unpack(images / writes.NAME, there)
    back = there / "etc" / "file"
    assert back.read_bytes() == file.read_bytes()
    info = back.stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o4750, 12, 34)
    assert os.getxattr(back, "user.note") == b"\xff\x00"
    assert os.path.samefile(back, there / "etc" / "again")
    assert os.readlink(there / "link") == "/nowhere"
    removed = (there / "etc" / "removed").stat()
    assert stat.S_ISCHR(removed.st_mode) and removed.st_rdev == 0
    assert os.getxattr(there / "etc" / "empty", "trusted.overlay.opaque") == b"y"
    assert "trusted.overlay.origin" not in os.listxattr(there)
    assert (there / "etc").stat().st_mtime == 2000


@pytest.mark.filterwarnings("error")
def test_links_that_lead_out_come_back_by_each_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python before 3.11.4 knows no filters of tar archives; from 3.14 on the usual one refuses
    these."""

    def extract(self: Any, member: Any, path: Any = "", set_attrs: bool = True) -> None:
        with_filters(self, member, path, set_attrs)

    upper = tmp_path / "upper"
    upper.mkdir()
    (upper / "link").symlink_to("/etc/../../etc/passwd")
    (upper / "file").touch(0o4777)
    (upper / "file").chmod(0o4777)
    writes.pack(upper, tmp_path)
    writes.unpack(tmp_path / writes.NAME, tmp_path / "now")
    with_filters = tarfile.TarFile.extract
    monkeypatch.setattr(tarfile.TarFile, "extract", extract)
    writes.unpack(tmp_path / writes.NAME, tmp_path / "before")
    for there in (tmp_path / "now", tmp_path / "before"):
        assert os.readlink(there / "link") == "/etc/../../etc/passwd"
        assert stat.S_IMODE((there / "file").stat().st_mode) == 0o4777


def test_nothing_written_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    writes.pack(tmp_path / "upper", tmp_path)
    assert not (tmp_path / writes.NAME).exists()


def test_a_file_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    (upper / "file").write_bytes(bytes(100_000))
    writes.pack(upper, tmp_path)
    whole = (tmp_path / writes.NAME).read_bytes()
    (tmp_path / writes.NAME).write_bytes(whole[:50_000])
    with pytest.raises(OSError, match=r"damaged|unexpected end"):
        writes.unpack(tmp_path / writes.NAME, tmp_path / "there")
