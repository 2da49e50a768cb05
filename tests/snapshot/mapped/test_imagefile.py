"""Image files, whole and broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.exception import SnapshotInvalidError
from rekindle.snapshot.mapped import imagefile
from rekindle.snapshot.mapped.imagefile import ImageFile
from tests.snapshot.mapped import images


def _entry() -> type[Any]:
    return type(images.pages(0, 1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "pagemap-100.img"
    image = ImageFile(images.MAGIC, [images.pages(images.at(n), n) for n in range(1, 4)])
    image.write(path)
    return path


def test_what_is_written_is_read_again(whole: Path) -> None:
    image = imagefile.read(whole, _entry())
    assert image.magic == images.MAGIC
    assert [entry.nr_pages for entry in image.entries] == [1, 2, 3]
    copy = whole.with_name("copy.img")
    image.write(copy)
    assert copy.read_bytes() == whole.read_bytes()


def test_the_first_message_may_be_of_another_kind(tmp_path: Path) -> None:
    head = imagefile.messages("pagemap_pb2").pagemap_head()
    head.pages_id = 9
    path = tmp_path / "pagemap.img"
    ImageFile(images.MAGIC, [head, images.pages(images.at(1), 5)]).write(path)
    image = imagefile.read(path, _entry(), first=type(head))
    assert (image.entries[0].pages_id, image.entries[1].nr_pages) == (9, 5)


def test_a_file_is_never_overwritten(whole: Path) -> None:
    with pytest.raises(FileExistsError):
        ImageFile(images.MAGIC, []).write(whole)


def test_every_cut_is_noticed_but_between_messages(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    cut = tmp_path / "cut.img"
    lengths = []
    for length in range(len(content)):
        cut.write_bytes(content[:length])
        try:
            lengths.append(len(imagefile.read(cut, _entry()).entries))
        except SnapshotInvalidError as error:
            assert "cut.img" in str(error)
    assert lengths == [0, 1, 2]


@given(st.binary(max_size=200))
def test_bytes_of_no_meaning_are_refused_or_read_but_never_crash(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes
) -> None:
    path = tmp_path_factory.mktemp("garbage") / "pagemap.img"
    path.write_bytes(images.MAGIC + garbage)
    try:
        imagefile.read(path, _entry())
    except SnapshotInvalidError:
        pass


@pytest.mark.parametrize("content", [b"", b"\x19\x43", b"0123456789"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mm-1.img"
    path.write_bytes(content)
    with pytest.raises(SnapshotInvalidError, match="is not a CRIU image"):
        imagefile.read(path, _entry())


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(SnapshotInvalidError, match=r"mm-1\.img is missing"):
        imagefile.read(tmp_path / "mm-1.img", _entry())
