"""An input as it was given to this node, where it is in its life, and the slices of a runner."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from rekindle.exception import InternalFailure
from rekindle.wire.phases import Strategy


@dataclass(frozen=True, slots=True)
class Order:
    """What the inputs of one order of the controller have in common."""

    call_id: str
    function_id: str
    app_id: str
    params: bytes
    strategy: Strategy | None
    submitted_ns: int
    received_ns: int
    delivery: int
    #: How many calls it was made inside of (execution/nesting.py).
    depth: int = 0
    #: A runner died while it had this input, here or elsewhere: it may kill the next one, too.
    suspect: bool = False
    #: Others of the function waited at the controller: they come when it has results of these.
    others_wait: bool = False


class AssignmentState(enum.Enum):
    """Where an input is on this node."""

    WAITING = "waiting"  # for a runner, or for its pool
    HANDED = "handed"  # a runner has it: in a slice, running or about to
    DONE = "done"  # its result is on the way to the controller, until that confirms it
    GIVEN_UP = "given up"  # the controller has it again, or wants nothing of it any more


_MOVES = {
    AssignmentState.WAITING: (
        AssignmentState.HANDED,
        AssignmentState.DONE,
        AssignmentState.GIVEN_UP,
    ),
    AssignmentState.HANDED: (
        AssignmentState.WAITING,
        AssignmentState.DONE,
        AssignmentState.GIVEN_UP,
    ),
    AssignmentState.DONE: (AssignmentState.GIVEN_UP,),
    AssignmentState.GIVEN_UP: (),
}


class Cancel(enum.Enum):
    """Whether, and how, it is to be cancelled."""

    NO = "no"
    ASK = "ask"  # InputCancellation, and the end of its runner only when that does not help
    KILL = "kill"  # the end of its runner
    TIMEOUT = "timeout"  # as ASK, as it ran for too long; where others run beside it
    #: As ASK, and the input goes back to the controller, as its runner has to make room.
    RETURN = "return"


@dataclass(slots=True, eq=False)
class Assignment:
    """One delivery of one input. Thousands may be here: it has slots and no task."""

    order: Order
    index: int
    method: str
    payload: bytes
    blob: str
    state: AssignmentState = AssignmentState.WAITING
    cancel: Cancel = Cancel.NO
    #: The runner that has it, while it is handed.
    runner_id: str = ""
    #: Where its runner has several at a time: its slot there; when it was asked to end, 0: it was
    #: not.
    slot: int = -1
    asked_at: float = 0.0
    #: Its result, serialized, once it is done; and how it ended.
    result: bytes = b""
    status: int = 0

    def move(self, to: AssignmentState) -> None:
        """The one place where its state changes."""
        if to not in _MOVES[self.state]:
            raise InternalFailure(f"input {self.input_id} cannot go from {self.state} to {to}")
        self.state = to

    @property
    def is_cancelled(self) -> bool:
        """Whether no one wants its result."""
        return self.cancel in (Cancel.ASK, Cancel.KILL)

    @property
    def input_id(self) -> str:
        """What names it everywhere."""
        return f"{self.order.call_id}:{self.index}"


@dataclass(slots=True)
class Slice:
    """Inputs of one call that a runner was handed together."""

    number: int
    order: Order
    handed_ns: int
    #: By index, those that have no result yet.
    left: dict[int, Assignment]
    #: Whether its runner was idle when it got it.
    to_idle: bool
    #: The input that waited for the start of its runner, so that the start is in its record.
    started_for: int | None = None
    #: Inputs of it that have ended.
    taken: int = 0
