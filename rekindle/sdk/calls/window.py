"""The room for inputs of one map that are on their way. Knows nothing of calls."""

from __future__ import annotations

from rekindle.sdk.calls.callers import Signal

#: Inputs of one map that are on their way: offered, and their value not taken by the caller.
MAX_OUTSTANDING = 8192
#: The same as a limit on their arguments.
MAX_OUTSTANDING_BYTES = 128 * 1024 * 1024


class Window:
    """Room for inputs on their way, by count and by bytes; one input always has room.

    The feeder takes room, whoever is done with an input gives it back. Each counter has one
    writer, so no lock is needed.
    """

    def __init__(self, signal: Signal) -> None:
        self._signal = signal
        self._taken = self._taken_bytes = 0
        self._given = self._given_bytes = 0
        self._waiting = False
        self.closed = False

    def take(self, size: int) -> None:
        """An input of ``size`` bytes was offered."""
        self._taken += 1
        self._taken_bytes += size

    def give_back(self, size: int, count: int = 1) -> None:
        """So many inputs are done with."""
        self._given += count
        self._given_bytes += size
        if self._waiting and self._room(0.125):
            self._waiting = False
            self._signal.set()

    def close(self) -> None:
        """No more inputs are wanted: whoever waits goes on, and looks at ``closed``."""
        self.closed = True
        self._signal.set()

    def full(self) -> bool:
        """Whether the feeder has to wait for the signal, and then look again."""
        if self._room() or self.closed:
            return False
        self._waiting = True
        self._signal.clear()
        if self._room() or self.closed:  # meanwhile
            self._waiting = False
            return False
        return True

    def _room(self, share: float = 0.0) -> bool:
        """Whether there is room for one more; or, not to wake for each, for a share of them."""
        count, size = self._taken - self._given, self._taken_bytes - self._given_bytes
        spare = 1 - share
        return count < MAX_OUTSTANDING * spare and size < MAX_OUTSTANDING_BYTES * spare
