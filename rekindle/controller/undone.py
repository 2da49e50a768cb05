"""What an undone input is in, in memory: plain records; queue/table.py moves inputs between them.

Inputs travel in batches while nothing is special about them. A ``QueueEntry`` is one entry of the
queue: a chunk of a call's inputs. They wait in a ``QueuedBatch``, are at an agent in an
``AssignedBatch``, and are in a ``ResultBatch`` while their results are being stored. An input that
was lost with its runner, is to be retried, or was cancelled leaves its batch and travels alone from
then on, as a ``DetachedInput`` with states of its own. ``Call.undone`` (state.py) has for each
index where it is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rekindle.controller.detached import DetachedState
from rekindle.wire import rekindle_pb2 as pb

if TYPE_CHECKING:
    from rekindle.controller.state import Agent, Call


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
    agent: Agent | None  # None: no agent has them (yet), after a restart
    out: dict[int, pb.Input]
    weight: float = 0.0  # share of an agent's room that one of them takes
    ambiguous: int = 0
    leased_until: float = 0.0  # on the loop's clock
    listed: frozenset[int] | set[int] = frozenset()  # what the agent last said that it has

    @property
    def indexes(self) -> list[int]:
        """Which inputs of the call these are, oldest first."""
        return list(self.out)


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
    def indexes(self) -> list[int]:
        """As of an AssignedBatch."""
        return [self.input.index]

    @property
    def delivery(self) -> int:
        """The number of its next delivery, or of the one under way; 1 is the first."""
        return self.lost + self.retries + 1

    def move(self, state: DetachedState) -> None:
        """Change the state; AssertionError for a step that must not happen."""
        if not self.state.may_become(state):
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
    statuses: dict[int, int] = field(default_factory=dict)  # how many ended how
    kept: list[int] = field(default_factory=list)  # those with progress in Redis
    letters: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    blobs: list[str] = field(default_factory=list)  # of inputs, which are not needed any more
    acks: list[tuple[Agent, list[int]]] = field(default_factory=list)


#: What waits for an agent.
Ready = QueuedBatch | DetachedInput
#: What an agent has.
Holding = AssignedBatch | DetachedInput
#: What has no result yet.
Pending = QueuedBatch | AssignedBatch | DetachedInput
#: Where an undone input is.
Holder = Pending | ResultBatch
