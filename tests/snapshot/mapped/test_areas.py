"""Each rule by which an area stays as it is."""

from __future__ import annotations

from typing import Any

import pytest

from rekindle.snapshot.mapped import areas
from rekindle.snapshot.mapped.areas import Keep, Rules, reason_to_keep
from tests.snapshot.mapped import images

_ANONYMOUS = areas.MAP_PRIVATE | areas.MAP_ANONYMOUS


def _area(**changes: int) -> Any:
    return images.vma(images.at(0), images.at(1024), **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"status": areas.VMA_REGULAR | areas.VMA_ANON_PRIVATE | areas.VMA_HEAP},
        {"flags": _ANONYMOUS | areas.MAP_NORESERVE},
        {"flags": _ANONYMOUS | areas.MAP_STACK | areas.MAP_NORESERVE},
        {"prot": 0},
        {"prot": 1},
        {"madv": areas.MADV_NOHUGEPAGE | areas.MADV_DONTDUMP},
    ],
    ids=["plain", "heap", "unreserved", "thread stack", "no access", "read only", "harmless"],
)
def test_private_memory_is_mapped(changes: dict[str, int]) -> None:
    assert reason_to_keep(_area(**changes), Rules()) is None


def test_the_written_pages_of_a_library_are_mapped() -> None:
    area = images.file_vma(images.at(0), images.at(1024), 7)
    assert reason_to_keep(area, Rules()) is None


@pytest.mark.parametrize(
    ("changes", "keep"),
    [
        ({"status": areas.VMA_REGULAR | 1 << 8}, Keep.SPECIAL),  # shared anonymous
        ({"status": areas.VMA_REGULAR | 1 << 7}, Keep.SPECIAL),  # a file, shared
        ({"status": areas.VMA_REGULAR | 1 << 3}, Keep.SPECIAL),  # the vDSO
        ({"status": areas.VMA_REGULAR | areas.VMA_FILE_PRIVATE | 1 << 14}, Keep.SPECIAL),  # memfd
        ({"status": areas.VMA_REGULAR | areas.VMA_ANON_PRIVATE | 1 << 1}, Keep.SPECIAL),  # stack
        ({"status": areas.VMA_REGULAR | areas.VMA_ANON_PRIVATE | 1 << 13}, Keep.SPECIAL),  # AIO
        ({"flags": _ANONYMOUS | areas.MAP_GROWSDOWN}, Keep.GROWS_DOWN),
        ({"flags": _ANONYMOUS | areas.MAP_LOCKED}, Keep.LOCKED),
        ({"flags": _ANONYMOUS | areas.MAP_HUGETLB}, Keep.HUGE_PAGES),
        ({"madv": areas.MADV_HUGEPAGE}, Keep.HUGE_PAGES),
        ({"madv": areas.MADV_HUGEPAGE | areas.MADV_DONTDUMP}, Keep.HUGE_PAGES),
        ({"madv": areas.MADV_WIPEONFORK}, Keep.ADVICE),
        ({"madv": areas.MADV_DONTFORK}, Keep.ADVICE),
        ({"madv": areas.MADV_MERGEABLE}, Keep.ADVICE),
        ({"prot": 7}, Keep.EXECUTABLE),
        ({"flags": _ANONYMOUS | 1 << 30}, Keep.FLAGS),
        ({"flags": areas.MAP_PRIVATE}, Keep.FLAGS),
    ],
)
def test_what_a_file_mapping_cannot_be_stays(changes: dict[str, int], keep: Keep) -> None:
    assert reason_to_keep(_area(**changes), Rules()) is keep


def test_small_areas_stay() -> None:
    area = images.vma(images.at(0), images.at(4))
    assert reason_to_keep(area, Rules()) is Keep.SMALL
    assert reason_to_keep(area, Rules(small_bytes=4 * areas.PAGE_BYTES)) is None


def test_huge_pages_are_given_up_only_when_asked() -> None:
    rules = Rules(map_huge_pages=True)
    assert reason_to_keep(_area(madv=areas.MADV_HUGEPAGE), rules) is None
    wiped = _area(madv=areas.MADV_HUGEPAGE | areas.MADV_WIPEONFORK)
    assert reason_to_keep(wiped, rules) is Keep.ADVICE


def test_an_allocators_unreserved_areas_stay_where_it_needs_that() -> None:
    rules = Rules(keep_unreserved=True)
    unreserved = _area(flags=_ANONYMOUS | areas.MAP_NORESERVE)
    assert reason_to_keep(unreserved, rules) is Keep.ALLOCATOR
    assert reason_to_keep(_area(), rules) is None
