"""Undone inputs in memory: in groups while nothing is special about them, then each by itself.

An ``QueueEntry`` is one entry of the queue: a chunk of a call's inputs. Its inputs wait in a ``QueuedBatch``,
are at an agent in a ``AssignedBatch``, and are in a ``ResultBatch`` while their results are being stored. An
input that was lost with its runner, is to be retried, or was cancelled, leaves its group and
travels alone from then on, as a ``DetachedInput`` with states of its own.

``Call.undone`` says for each index where it is. Knows nothing of Redis.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from rekindle.wire import rekindle_pb2 as pb

if TYPE_CHECKING:
    from rekindle.controller.state import Agent, Call


class DetachedState(Enum):
    """Where an input that travels alone is.

    QUEUED -> ASSIGNED -> DONE is the plain way. ASSIGNED -> ORPHANED when its runner or agent is
    lost, then back to ASSIGNED (the agent came back with it), QUEUED (placed again) or DELAYED
    (placed again later). ASSIGNED -> DELAYED -> QUEUED is a retry. Every state may go to DONE: the
    first result wins.
    """

    QUEUED = auto()
    ASSIGNED = auto()
    ORPHANED = auto()
    DELAYED = auto()
    DONE = auto()


_ALLOWED = {
    DetachedState.QUEUED: {DetachedState.ASSIGNED, DetachedState.DONE},
    DetachedState.ASSIGNED: {
        DetachedState.ORPHANED,
        DetachedState.QUEUED,
        DetachedState.DELAYED,
        DetachedState.DONE,
    },
    DetachedState.ORPHANED: {
        DetachedState.ASSIGNED,
        DetachedState.QUEUED,
        DetachedState.DELAYED,
        DetachedState.DONE,
    },
    DetachedState.DELAYED: {DetachedState.QUEUED, DetachedState.DONE},
    DetachedState.DONE: set(),
}


@dataclass(slots=True, eq=False)
class QueueEntry:
    """An entry of the queue with inputs that are undone."""

    call: Call
    entry: str
    left: int  # inputs without a stored result
    size: int  # bytes


@dataclass(slots=True, eq=False)
class QueuedBatch:
    """Inputs of an entry that wait for an agent, in their order."""

    entry: QueueEntry
    inputs: list[pb.Input]
    ambiguous: int = 0  # how often they were with an agent that was lost, whoever was to blame
    delivery: int = 1

    def drop(self, index: int) -> pb.Input:
        """Take one out."""
        for at, item in enumerate(self.inputs):
            if item.index == index:
                return self.inputs.pop(at)
        raise KeyError(index)


@dataclass(slots=True, eq=False)
class AssignedBatch:
    """Inputs of an entry that are at an agent, or were when the controller ended."""

    entry: QueueEntry
    agent: Agent | None  # None: orphaned, an agent may come back with them
    out: dict[int, pb.Input]
    weight: float = 0.0  # share of an agent's room that one of them takes
    ambiguous: int = 0
    leased_until: float = 0.0  # on the loop's clock
    listed: frozenset[int] | set[int] = frozenset()  # what the agent last said that it has


@dataclass(slots=True, eq=False)
class DetachedInput:
    """An input that travels alone."""

    entry: QueueEntry
    input: pb.Input
    state: DetachedState
    agent: Agent | None = None
    lost: int = 0  # deliveries that were lost with its runner
    killed: int = 0  # those of them in which the runner died, and not its agent
    ambiguous: int = 0  # times that its agent was lost while it may or may not have run
    retries: int = 0  # retries after FAILURE or TIMEOUT so far
    kept: bool = False  # whether Redis knows of these
    timer: asyncio.TimerHandle | None = None  # of a DELAYED one
    leased_until: float = 0.0

    @property
    def call(self) -> Call:
        """The call that it is of."""
        return self.entry.call

    @property
    def index(self) -> int:
        """Its place in the call."""
        return self.input.index

    @property
    def delivery(self) -> int:
        """The number of its next delivery, or of the one under way; 1 is the first."""
        return self.lost + self.retries + 1

    def move(self, state: DetachedState) -> None:
        """Change the state; AssertionError for a step that must not happen."""
        if state not in _ALLOWED[self.state]:
            step = f"{self.state.name} -> {state.name}"
            raise AssertionError(f"input {self.index} of {self.call.call_id}: {step}")
        self.state = state


@dataclass(slots=True, eq=False)
class ResultBatch:
    """Results of a call on their way to the store."""

    call: Call
    groups: dict[QueueEntry, list[tuple[int, bytes]]] = field(default_factory=dict)
    count: int = 0
    size: int = 0
    execute_ns: int = 0
    statuses: dict[int, int] = field(default_factory=dict)  # how many ended how
    kept: list[int] = field(default_factory=list)  # those with progress in Redis
    letters: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    blobs: list[str] = field(default_factory=list)  # of inputs, which are not needed any more
    acks: list[tuple[Agent, list[int]]] = field(default_factory=list)

    def add(self, entry: QueueEntry, index: int, result: bytes, status: int) -> None:
        """Add a serialized result."""
        pairs = self.groups.get(entry)
        if pairs is None:
            pairs = self.groups[entry] = []
        pairs.append((index, result))
        self.count += 1
        self.size += len(result)
        self.statuses[status] = self.statuses.get(status, 0) + 1


#: Where an undone input is.
Holder = QueuedBatch | AssignedBatch | DetachedInput | ResultBatch
#: What an agent has.
Holding = AssignedBatch | DetachedInput
