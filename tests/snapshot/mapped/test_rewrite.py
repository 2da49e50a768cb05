"""What a rewrite leaves in the target directory, on made-up images."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from rekindle.exception import SnapshotInvalidError
from rekindle.snapshot.mapped import areas, imagefile
from rekindle.snapshot.mapped.areas import PAGE_BYTES, NotMappableError
from rekindle.snapshot.mapped.rewrite import Limits, Rewritten, rewrite
from tests import unlistable
from tests.snapshot.mapped import images
from tests.snapshot.mapped.images import at, file_vma, pages, regular_file, vma

_AT = Path("/store/sn-1/images")


def _content(count: int, mark: int = 1) -> bytes:
    return b"".join(struct.pack("<I", mark << 20 | page) * 1024 for page in range(count))


def _simple(directory: Path, **changes: Any) -> Path:
    """100 present pages in an area of 200, and 3 in a small one."""
    memory = [vma(at(0), at(200), **changes), vma(at(300), at(304))]
    return images.write_directory(
        directory, {100: (memory, [pages(at(50), 100), pages(at(300), 3)], _content(103))}
    )


def _vmas(directory: Path, pid: int = 100) -> list[Any]:
    mm = imagefile.read(directory / f"mm-{pid}.img", imagefile.messages("mm_pb2").mm_entry)
    return list(mm.entries[0].vmas)


def _pagemap(directory: Path, pid: int = 100) -> list[tuple[int, int]]:
    pb = imagefile.messages("pagemap_pb2")
    image = imagefile.read(directory / f"pagemap-{pid}.img", pb.pagemap_entry, pb.pagemap_head)
    return [(entry.vaddr, entry.nr_pages) for entry in image.entries[1:]]


def _files(directory: Path) -> dict[int, Any]:
    pb = imagefile.messages("fdinfo_pb2")
    return {e.id: e for e in imagefile.read(directory / "files.img", pb.file_entry).entries}


def _memory(directory: Path, pid: int, roots: dict[str, Path]) -> dict[int, bytes]:
    """Each page that a restore would make, by address; ``roots`` finds directories by name."""
    found: dict[int, bytes] = {}
    files = _files(directory)
    for entry in _vmas(directory, pid):
        if entry.status & areas.VMA_FILE_PRIVATE:
            name = Path(files[entry.shmid].reg.name)
            data = (roots[str(name.parent)] / name.name).read_bytes()
            for address in range(entry.start, entry.end, PAGE_BYTES):
                offset = entry.pgoff + address - entry.start
                found[address] = data[offset : offset + PAGE_BYTES]
    pb = imagefile.messages("pagemap_pb2")
    head = imagefile.read(
        directory / f"pagemap-{pid}.img", pb.pagemap_entry, pb.pagemap_head
    ).entries[0]
    data = (directory / f"pages-{head.pages_id}.img").read_bytes()
    position = 0
    for address, count in _pagemap(directory, pid):
        for page in range(count):
            found[address + page * PAGE_BYTES] = data[position : position + PAGE_BYTES]
            position += PAGE_BYTES
    assert position == len(data)
    return {address: page for address, page in found.items() if any(page)}


def _rewrite(plain: Path, target: Path, **changes: Any) -> Rewritten:
    return rewrite(plain, target, _AT, target_at=Path("/store/sn-1/mapped"), **changes)


def test_a_large_run_is_mapped_where_criu_wrote_it(tmp_path: Path) -> None:
    plain = _simple(tmp_path / "plain")
    done = _rewrite(plain, tmp_path / "mapped")
    hole, mapped, rest, small = _vmas(tmp_path / "mapped")
    assert (hole.start, hole.end, hole.status) == (at(0), at(50), 513)
    assert (mapped.start, mapped.end, mapped.pgoff) == (at(50), at(150), 0)
    assert (mapped.status, mapped.flags, mapped.madv, mapped.prot) == (65, 2, 0, 3)
    assert (rest.start, rest.end, rest.status) == (at(150), at(200), 513)
    assert (small.start, small.end, small.status) == (at(300), at(304), 513)
    assert _pagemap(tmp_path / "mapped") == [(at(300), 3)]
    entry = _files(tmp_path / "mapped")[mapped.shmid]
    assert entry.reg.name == str(_AT / "pages-1.img")
    assert entry.reg.size == 103 * PAGE_BYTES
    assert (done.processes, done.areas, done.layout) == (1, 1, "in place")
    assert (done.mapped_bytes, done.copied_bytes) == (100 * PAGE_BYTES, 3 * PAGE_BYTES)
    assert done.kept == {"small": 1}
    assert done.written_bytes < 10 * PAGE_BYTES


@pytest.mark.parametrize(
    ("changes", "status", "flags", "madv"),
    [
        ({"status": 545}, 97, 2, 0),
        ({"flags": 0x4022}, 65, 0x4002, 0),
        ({"madv": areas.MADV_DONTDUMP}, 65, 2, areas.MADV_DONTDUMP),
    ],
    ids=["heap", "unreserved", "advice"],
)
def test_what_an_area_is_stays_with_it(
    tmp_path: Path, changes: dict[str, int], status: int, flags: int, madv: int
) -> None:
    _rewrite(_simple(tmp_path / "plain", **changes), tmp_path / "mapped")
    mapped = _vmas(tmp_path / "mapped")[1]
    assert (mapped.status, mapped.flags, mapped.madv) == (status, flags, madv)


def test_areas_given_up_by_huge_pages_lose_the_advice_where_mapped(tmp_path: Path) -> None:
    plain = _simple(tmp_path / "plain", madv=areas.MADV_HUGEPAGE)
    assert _rewrite(plain, tmp_path / "kept").mapped_bytes == 0
    done = _rewrite(plain, tmp_path / "mapped", map_huge_pages=True)
    assert done.mapped_bytes == 100 * PAGE_BYTES
    assert [entry.madv for entry in _vmas(tmp_path / "mapped")] == [1 << 14, 0, 1 << 14, 0]


def test_the_plain_images_stay_and_the_rest_is_linked(tmp_path: Path) -> None:
    plain = _simple(tmp_path / "plain")
    before = {path.name: path.read_bytes() for path in plain.iterdir()}
    _rewrite(plain, tmp_path / "mapped")
    assert {path.name: path.read_bytes() for path in plain.iterdir()} == before
    target = tmp_path / "mapped"
    assert {path.name for path in target.iterdir()} == before.keys() - {"stats-dump"}
    assert (target / "core-100.img").samefile(plain / "core-100.img")
    for name in ("pages-1.img", "mm-100.img", "files.img"):
        assert not (target / name).samefile(plain / name)
    assert target.stat().st_mode & 0o777 == 0o700


def test_each_page_of_two_processes_is_where_it_was(tmp_path: Path) -> None:
    first = [vma(at(0), at(200)), vma(at(200), at(260), prot=1)]
    second = [vma(at(0), at(200)), vma(at(200), at(260), flags=0x2022)]
    plain = images.write_directory(
        tmp_path / "plain",
        {
            100: (first, [pages(at(10), 5), pages(at(30), 220)], _content(225, 1)),
            101: (second, [pages(at(190), 40)], _content(40, 2)),
        },
    )
    done = _rewrite(plain, tmp_path / "mapped")
    assert done.processes == 2
    roots = {str(_AT): plain}
    for pid, size in ((100, 225), (101, 40)):
        expected = _memory(plain, pid, {})
        assert len(expected) == size
        assert _memory(tmp_path / "mapped", pid, roots) == expected


def test_the_page_files_entry_takes_an_id_of_its_own(tmp_path: Path) -> None:
    library = tmp_path / "lib.so"
    library.write_bytes(bytes(PAGE_BYTES))
    plain = images.write_directory(
        tmp_path / "plain",
        {100: ([vma(at(0), at(50))], [pages(at(0), 50)], _content(50))},
        [regular_file(7, library), regular_file(3, library)],
    )
    _rewrite(plain, tmp_path / "mapped")
    assert set(_files(tmp_path / "mapped")) == {3, 7, 8}


def test_a_librarys_written_pages_are_mapped_and_the_rest_is_still_its_own(tmp_path: Path) -> None:
    library = tmp_path / "lib.so"
    library.write_bytes(bytes(PAGE_BYTES))
    area = file_vma(at(0), at(60), 7, pgoff=5 * PAGE_BYTES)
    plain = images.write_directory(
        tmp_path / "plain",
        {100: ([area], [pages(at(20), 30)], _content(30))},
        [regular_file(7, library)],
    )
    _rewrite(plain, tmp_path / "mapped")
    found = [(e.start, e.shmid, e.pgoff // PAGE_BYTES) for e in _vmas(tmp_path / "mapped")]
    assert found == [(at(0), 7, 5), (at(20), 8, 0), (at(50), 7, 55)]


# ---- the other layout ----------------------------------------------------------------------


def _holes(directory: Path) -> Path:
    """One area of 60 runs of 16 pages with a hole after each."""
    pagemap = [pages(at(17 * run + 1), 16) for run in range(60)]
    return images.write_directory(
        directory, {100: ([vma(at(0), at(17 * 60 + 1))], pagemap, _content(960))}
    )


def test_memory_in_too_many_pieces_is_laid_out_in_a_file_of_its_own(tmp_path: Path) -> None:
    plain = _holes(tmp_path / "plain")
    target = tmp_path / "mapped"
    done = _rewrite(plain, target, limits=Limits(in_place_areas=50))
    assert (done.layout, done.areas) == ("sparse", 1)
    assert done.written_bytes >= 960 * PAGE_BYTES
    file = target / "sparse-pages-1.img"
    assert file.stat().st_size == (17 * 60 + 1) * PAGE_BYTES
    (entry,) = _files(target).values()
    assert entry.reg.name == "/store/sn-1/mapped/sparse-pages-1.img"
    assert entry.reg.size == file.stat().st_size
    assert entry.reg.mode == file.stat().st_mode == 0o100400
    roots = {"/store/sn-1/mapped": target}
    assert _memory(target, 100, roots) == _memory(plain, 100, {})


def test_memory_in_few_pieces_is_mapped_in_place(tmp_path: Path) -> None:
    done = _rewrite(_holes(tmp_path / "plain"), tmp_path / "mapped")
    assert (done.layout, done.areas) == ("in place", 60)


def test_areas_that_no_layout_makes_few_enough_are_copied(tmp_path: Path) -> None:
    memory = [vma(at(30 * n), at(30 * n + 20), prot=1 + n % 2) for n in range(50)]
    pagemap = [pages(at(30 * n), 20) for n in range(50)]
    plain = images.write_directory(tmp_path / "plain", {100: (memory, pagemap, _content(1000))})
    with pytest.raises(
        NotMappableError, match=r"in 100 pieces, and 60 are the most.*max_map_count"
    ):
        _rewrite(plain, tmp_path / "mapped", limits=Limits(areas=60))


# ---- refusals ------------------------------------------------------------------------------


def test_a_page_file_that_is_cut_off_is_damage(tmp_path: Path) -> None:
    plain = _simple(tmp_path / "plain")
    (plain / "pages-1.img").write_bytes(_content(102))
    with pytest.raises(SnapshotInvalidError, match=r"pages-1\.img is shorter than its pagemap"):
        _rewrite(plain, tmp_path / "mapped")


@pytest.mark.parametrize("name", ["files.img", "mm-100.img", "pagemap-100.img"])
def test_a_broken_image_is_named(tmp_path: Path, name: str) -> None:
    plain = _simple(tmp_path / "plain")
    (plain / name).write_bytes(images.MAGIC + b"\xff\xff\xff\x00")
    with pytest.raises(SnapshotInvalidError, match=name):
        _rewrite(plain, tmp_path / "mapped")


@pytest.mark.parametrize("name", ["pagemap-100.img", "mm-100.img"])
def test_an_image_without_content_is_damage(tmp_path: Path, name: str) -> None:
    plain = _simple(tmp_path / "plain")
    (plain / name).write_bytes(images.MAGIC)
    with pytest.raises(SnapshotInvalidError, match="has no content"):
        _rewrite(plain, tmp_path / "mapped")


def test_a_missing_pagemap_is_damage(tmp_path: Path) -> None:
    plain = _simple(tmp_path / "plain")
    (plain / "pagemap-100.img").unlink()
    with pytest.raises(SnapshotInvalidError, match=r"pagemap-100\.img is missing"):
        _rewrite(plain, tmp_path / "mapped")


def test_code_from_a_library_that_is_gone_is_refused(tmp_path: Path) -> None:
    code = file_vma(at(0), at(9), 7, prot=5)
    plain = images.write_directory(
        tmp_path / "plain", {100: ([code], [], b"")}, [regular_file(7, tmp_path / "gone.so")]
    )
    with pytest.raises(NotMappableError, match=r"gone\.so cannot be read"):
        _rewrite(plain, tmp_path / "mapped")


def test_code_from_a_file_that_the_images_do_not_name_is_damage(tmp_path: Path) -> None:
    code = file_vma(at(0), at(9), 7, prot=5)
    plain = images.write_directory(tmp_path / "plain", {100: ([code], [], b"")})
    with pytest.raises(SnapshotInvalidError, match=r"files\.img has no entry 7"):
        _rewrite(plain, tmp_path / "mapped")


def test_processes_that_share_a_page_file_are_refused(tmp_path: Path) -> None:
    plain = _simple(tmp_path / "plain")
    for kind in ("mm", "pagemap"):
        (plain / f"{kind}-101.img").write_bytes((plain / f"{kind}-100.img").read_bytes())
    with pytest.raises(NotMappableError, match="two processes share one page file"):
        _rewrite(plain, tmp_path / "mapped")


def test_nothing_to_map_is_no_error(tmp_path: Path) -> None:
    plain = images.write_directory(
        tmp_path / "plain", {100: ([vma(at(0), at(5))], [pages(at(0), 2)], _content(2))}
    )
    done = _rewrite(plain, tmp_path / "mapped")
    assert (done.areas, done.mapped_bytes, done.copied_bytes) == (0, 0, 2 * PAGE_BYTES)
    assert not _files(tmp_path / "mapped")


def test_images_that_cannot_be_listed_are_not_those_of_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _simple(tmp_path / "plain")
    unlistable.make(monkeypatch, plain)
    with pytest.raises(PermissionError):
        _rewrite(plain, tmp_path / "mapped")
    assert list((tmp_path / "mapped").iterdir()) == []  # it was seen before anything was made of it
