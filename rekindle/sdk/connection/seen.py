"""Which results of a call have come, so that a request for the rest can be made at any time."""

from __future__ import annotations

#: The index of a result, and the Result as it came: serialized, it takes a fraction of the room.
Arrived = tuple[int, bytes]


class Seen:
    """The inputs whose results have come; takes room for the gaps between them alone."""

    def __init__(self, first: int = 0) -> None:
        self._end = first
        self._missing: set[int] = set()

    def add(self, index: int) -> bool:
        """Note one; whether it is the first time."""
        if index == self._end:
            self._end += 1
            return True
        if index > self._end:
            self._missing.update(range(self._end, index))
            self._end = index + 1
            return True
        if index in self._missing:
            self._missing.discard(index)
            return True
        return False

    def forget_from(self, index: int) -> None:
        """All from ``index`` on have not come."""
        if index < self._end:
            self._end = index
            self._missing = {missing for missing in self._missing if missing < index}

    def all_below(self, end: int) -> bool:
        """Whether all below ``end`` have come."""
        return self._end >= end and min(self._missing, default=end) >= end

    def __len__(self) -> int:
        """How many of the inputs from 0 on have come."""
        return self._end - len(self._missing)

    def to_request(self) -> tuple[int, list[int]]:
        """From which one on to request, and which of those not to."""
        start = min(self._missing, default=self._end)
        return start, [i for i in range(start, self._end) if i not in self._missing]
