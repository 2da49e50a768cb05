"""Messages of one kind that wait, of which the oldest are left out where there are too many."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from rekindle.wire import rekindle_pb2 as pb


@dataclass(eq=False)
class Bounded:
    """Those that wait, oldest first; where they wait is their owner's to know."""

    #: As how many a message counts, and as how many bytes.
    weight: Callable[[pb.AgentMessage], int]
    most: int
    most_bytes: int
    _waiting: deque[tuple[pb.AgentMessage, int, int]] = field(default_factory=deque)
    _weight: int = 0
    _bytes: int = 0

    def add(self, message: pb.AgentMessage) -> list[tuple[pb.AgentMessage, int]]:
        """One more waits; those that are left out for it, and as how many each counted."""
        weight, size = self.weight(message), message.ByteSize()
        self._waiting.append((message, weight, size))
        self._weight += weight
        self._bytes += size
        left_out = []
        while len(self._waiting) > 1 and self._is_too_much():
            left_out.append(self._pop())
        return left_out

    def sent(self, message: pb.AgentMessage) -> None:
        """It waits no longer, whether it was one of these or not; they are sent in their order."""
        if self._waiting and self._waiting[0][0] is message:
            self._pop()

    def clear(self) -> None:
        """None waits any more."""
        self._waiting.clear()
        self._weight = self._bytes = 0

    @property
    def is_half_full(self) -> bool:
        """Whether half of what may wait does."""
        return 2 * self._weight > self.most or 2 * self._bytes > self.most_bytes

    def _is_too_much(self) -> bool:
        return self._weight > self.most or self._bytes > self.most_bytes

    def _pop(self) -> tuple[pb.AgentMessage, int]:
        message, weight, size = self._waiting.popleft()
        self._weight -= weight
        self._bytes -= size
        return message, weight
