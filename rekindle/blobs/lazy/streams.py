"""Read-ahead: who reads one chunk after the other gets more and more of them ahead. Pure."""

from __future__ import annotations

from collections import OrderedDict

#: Chunks ahead of a sequential reader, at most.
MOST_AHEAD = 32
#: Sequential readers of one file that are told apart.
_STREAMS = 8


class Streams:
    """The readers of one file, as they show in the chunks that are touched."""

    def __init__(self, count: int) -> None:
        self._count = count
        #: Last chunk of a reader -> how many were asked for ahead of it the last time.
        self._windows: OrderedDict[int, int] = OrderedDict()

    def touched(self, number: int) -> range:
        """The chunks to fetch ahead, now that this one is read; none for a reader that jumps."""
        if number in self._windows:
            return range(0)  # the same reader, within the chunk
        window = self._windows.pop(number - 1, None)
        window = 0 if window is None else min(max(1, 2 * window), MOST_AHEAD)
        self._windows[number] = window
        while len(self._windows) > _STREAMS:
            self._windows.popitem(last=False)
        return range(number + 1, min(self._count, number + 1 + window))
