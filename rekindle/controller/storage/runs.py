"""Indexes as text: runs ``first-last`` with commas between, as the scripts in lua/ read them."""

from __future__ import annotations

from collections.abc import Sequence

#: No entry of the queue and no batch has more: a damaged number is not to fill the memory.
_MOST = 1 << 24


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


def from_runs(text: bytes, most: int = _MOST) -> list[int]:
    """The inverse of ``to_runs``. Raises ValueError, also for more than ``most``."""
    indexes: list[int] = []
    for run in text.split(b",") if text else ():
        first, _, last = run.partition(b"-")
        begin, end = int(first), int(last)
        if not 0 <= begin <= end < begin + most - len(indexes):
            raise ValueError(f"a run from {begin} to {end}")
        indexes.extend(range(begin, end + 1))
    return indexes
