"""The budget: sizes are read, and the least recently used goes first."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.exception import InvalidError
from rekindle.snapshot import budget
from rekindle.snapshot.budget import Candidate


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("50G", 50 << 30),
        ("1.5 GiB", 3 << 29),
        ("10mb", 10 << 20),
        (" 2T ", 2 << 40),
    ],
)
def test_sizes_are_read_with_and_without_units(text: str, size: int) -> None:
    assert budget.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "10 X", "1e9", "10GG", "ten"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="no size"):
        budget.parse_size(text)


@pytest.mark.parametrize("text", ["9" * 20, "9" * 400, "9999999T"])
def test_a_size_that_no_message_can_carry_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="too large for a size"):
        budget.parse_size(text)


def test_the_budget_is_what_the_operator_says_else_a_share_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(budget.VARIABLE, raising=False)
    fifth = shutil.disk_usage(tmp_path).total // 5
    assert budget.of_store(tmp_path) == pytest.approx(min(fifth, 100 << 30), abs=1)
    monkeypatch.setenv(budget.VARIABLE, "7G")
    assert budget.of_store(tmp_path) == 7 << 30
    monkeypatch.setenv(budget.VARIABLE, "much")
    with pytest.raises(InvalidError, match=budget.VARIABLE):
        budget.of_store(tmp_path)


def _keys(chosen: list[Candidate]) -> list[str]:
    return [one.key for one in chosen]


def test_no_more_goes_than_has_to() -> None:
    three = [Candidate(str(n), float(n), {n: 100}) for n in (3, 1, 2)]
    assert _keys(budget.to_remove(three, 300)) == []
    assert _keys(budget.to_remove(three, 299)) == ["1"]
    assert _keys(budget.to_remove(three, 100)) == ["1", "2"]
    assert _keys(budget.to_remove(three, 0)) == ["1", "2", "3"]


def test_what_is_in_use_stays_and_the_next_one_goes() -> None:
    three = [
        Candidate("1", 1.0, {1: 100}, in_use=True),
        Candidate("2", 2.0, {2: 100}),
        Candidate("3", 3.0, {3: 100}, in_use=True),
    ]
    assert _keys(budget.to_remove(three, 250)) == ["2"]
    assert _keys(budget.to_remove(three, 0)) == ["2"]


def test_what_two_share_is_counted_once_and_freed_with_the_last() -> None:
    two = [Candidate("1", 1.0, {1: 100, 9: 1000}), Candidate("2", 2.0, {2: 100, 9: 1000})]
    assert _keys(budget.to_remove(two, 1200)) == []
    assert _keys(budget.to_remove(two, 1100)) == ["1"]
    assert _keys(budget.to_remove(two, 1000)) == ["1", "2"]


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.dictionaries(st.integers(0, 5), st.just(10)), st.booleans())
    ),
    st.integers(0, 100),
)
def test_the_rest_fits_or_is_in_use_and_none_older_stays(
    raw: list[tuple[int, dict[int, int], bool]], limit: int
) -> None:
    given_ = [Candidate(str(n), float(used), i, busy) for n, (used, i, busy) in enumerate(raw)]
    chosen = budget.to_remove(given_, limit)
    rest = [one for one in given_ if one not in chosen]
    left = {inode for one in rest for inode in one.inodes}
    assert len(left) * 10 <= limit or all(one.in_use for one in rest)
    assert not any(one.in_use for one in chosen)
    newest = max((one.last_used for one in chosen), default=0.0)
    assert all(one.in_use or one.last_used >= newest for one in rest)
