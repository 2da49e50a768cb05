"""An input as it was given to this node, and where it is in its life here."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rekindle.exception import InternalFailure
from rekindle.wire.phases import Strategy

if TYPE_CHECKING:
    from rekindle.runtime.agent.runners.runner import Runner


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


class InputState(enum.Enum):
    """Where an input is on this node."""

    WAITING = "waiting"  # for a runner, or for its pool
    DEALT = "dealt"  # a runner has it: in a slice, running or about to
    DONE = "done"  # its result is on the way to the controller, until that confirms it
    GIVEN_UP = "given up"  # the controller has it again, or wants nothing of it any more


_MOVES = {
    InputState.WAITING: (InputState.DEALT, InputState.DONE, InputState.GIVEN_UP),
    InputState.DEALT: (InputState.WAITING, InputState.DONE, InputState.GIVEN_UP),
    InputState.DONE: (InputState.GIVEN_UP,),
    InputState.GIVEN_UP: (),
}


class Cancel(enum.Enum):
    """Whether, and how, it is to be cancelled."""

    NO = "no"
    ASK = "ask"  # InputCancellation, and the end of its runner only when that does not help
    KILL = "kill"  # the end of its runner


class Assignment:
    """One delivery of one input. Thousands may be here: it has slots and no task."""

    __slots__ = (
        "blob",
        "cancel",
        "index",
        "method",
        "order",
        "payload",
        "result",
        "runner",
        "state",
        "status",
    )

    def __init__(self, order: Order, index: int, method: str, payload: bytes, blob: str) -> None:
        self.order = order
        self.index = index
        self.method = method
        self.payload = payload
        self.blob = blob
        self.state = InputState.WAITING
        self.cancel = Cancel.NO
        #: Who has it, while it is dealt.
        self.runner: Runner | None = None
        #: Its result, serialized, once it is done; and how it ended.
        self.result = b""
        self.status = 0

    def move(self, to: InputState) -> None:
        """The one place where its state changes."""
        if to not in _MOVES[self.state]:
            raise InternalFailure(f"input {self.input_id} cannot go from {self.state} to {to}")
        self.state = to

    @property
    def input_id(self) -> str:
        """What names it everywhere."""
        return f"{self.order.call_id}:{self.index}"
