"""Indexes as text: runs ``first-last`` with commas between, as the scripts in lua/ read them."""

from __future__ import annotations

from collections.abc import Sequence


def to_runs(indexes: Sequence[int]) -> str:
    """``[1, 2, 3, 7]`` as ``1-3,7-7``."""
    if not indexes:
        return ""
    first, last = indexes[0], indexes[-1]
    if last - first + 1 == len(indexes) and list(indexes) == list(range(first, last + 1)):
        return f"{first}-{last}"  # as nearly all are
    runs: list[str] = []
    start = end = first
    for index in indexes[1:]:
        if index == end + 1:
            end = index
        else:
            runs.append(f"{start}-{end}")
            start = end = index
    runs.append(f"{start}-{end}")
    return ",".join(runs)


def from_runs(text: bytes) -> list[int]:
    """The inverse of ``to_runs``."""
    indexes: list[int] = []
    for run in text.split(b",") if text else ():
        first, _, last = run.partition(b"-")
        indexes.extend(range(int(first), int(last) + 1))
    return indexes
