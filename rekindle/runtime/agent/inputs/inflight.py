"""The inputs that the controller has given to this node and whose results it has not confirmed.

A result is kept until it is confirmed, so that it can be sent again over a new connection. What
that may take is bounded (``full``): runners get no more inputs until confirmations come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rekindle.runtime.agent.inputs.assignment import Assignment, AssignmentState, Order
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)

#: Unconfirmed results are kept up to so many bytes, and so many of them.
MAX_UNCONFIRMED_BYTES = 256 << 20
MAX_UNCONFIRMED = 16_384
#: Results that are sent again travel in messages of about this size.
_MESSAGE_BYTES = 1 << 20


@dataclass(eq=False)
class InFlight:
    """By call, then by index."""

    #: For each input whose payload came from the blob store, once it is needed no more.
    _release: Callable[[Assignment], None] = lambda one: None
    calls: dict[str, dict[int, Assignment]] = field(default_factory=dict)
    unconfirmed: int = 0
    unconfirmed_bytes: int = 0
    inputs: int = 0
    #: Call -> how many of its inputs have no result yet; of none is no entry.
    _undone: dict[str, int] = field(default_factory=dict)
    _all_confirmed: asyncio.Event = field(default_factory=asyncio.Event)

    async def confirmed(self) -> None:
        """Return once the controller has confirmed all results."""
        while self.unconfirmed:
            self._all_confirmed.clear()
            await self._all_confirmed.wait()

    @property
    def full(self) -> bool:
        """Whether results must be confirmed before more inputs are run."""
        return (
            self.unconfirmed_bytes >= MAX_UNCONFIRMED_BYTES or self.unconfirmed >= MAX_UNCONFIRMED
        )

    @property
    def running(self) -> int:
        """Inputs that have no result yet."""
        return self.inputs - self.unconfirmed

    def add(self, order: Order, inputs: Sequence[pb.Input]) -> list[Assignment]:
        """Take inputs in; those that are here already are left out."""
        call = self.calls.setdefault(order.call_id, {})
        added = []
        for one in inputs:
            index = one.index
            known = call.get(index)
            if known is not None:
                log.info("assigned again", extra=kv(call=order.call_id, index=index))
                if (
                    known.state is not AssignmentState.DONE
                    or order.delivery <= known.order.delivery
                ):
                    continue
                # The controller has its result, and runs it again: the confirmation is under way.
                self._forget(call, known)
            call[index] = assignment = Assignment(order, index, one.method, one.payload, one.blob)
            added.append(assignment)
        self.inputs += len(added)
        self._count_undone(order.call_id, len(added))
        return added

    def has_undone(self, call_id: str) -> bool:
        """Whether inputs of a call are here that have no result yet."""
        return call_id in self._undone

    def _count_undone(self, call_id: str, more: int) -> None:
        if count := self._undone.get(call_id, 0) + more:
            self._undone[call_id] = count
        else:
            self._undone.pop(call_id, None)

    def find(self, call_id: str, indexes: Sequence[int]) -> list[Assignment]:
        """Those of ``indexes`` that are here."""
        call = self.calls.get(call_id, {})
        return [call[index] for index in indexes if index in call]

    def settle(self, assignment: Assignment, status: int, result: bytes) -> bool:
        """Keep a result until it is confirmed; False when no one wants it."""
        if assignment.state in (AssignmentState.DONE, AssignmentState.GIVEN_UP):
            return False
        assignment.move(AssignmentState.DONE)
        assignment.status, assignment.result = status, result
        assignment.payload = b""
        if assignment.blob:
            self._release(assignment)
        assignment.runner_id = ""
        self._count_undone(assignment.order.call_id, -1)
        self.unconfirmed += 1
        self.unconfirmed_bytes += len(result)
        return True

    def confirm(self, call_id: str, indexes: Sequence[int]) -> None:
        """The controller has stored results: forget them."""
        for assignment in self.find(call_id, indexes):
            if assignment.state is AssignmentState.DONE:
                self.give_up(assignment)

    def give_up(self, assignment: Assignment) -> None:
        """Forget an input, whatever its state."""
        call = self.calls.get(assignment.order.call_id)
        if call is None or call.get(assignment.index) is not assignment:
            return
        self._forget(call, assignment)
        if not call:
            del self.calls[assignment.order.call_id]

    def _forget(self, call: dict[int, Assignment], assignment: Assignment) -> None:
        del call[assignment.index]
        self.inputs -= 1
        if assignment.blob:
            self._release(assignment)
        if assignment.state is AssignmentState.DONE:
            self.unconfirmed -= 1
            self.unconfirmed_bytes -= len(assignment.result)
            if not self.unconfirmed:
                self._all_confirmed.set()
        else:
            self._count_undone(assignment.order.call_id, -1)
        assignment.move(AssignmentState.GIVEN_UP)

    def hello(self) -> list[pb.InFlight]:
        """All of them, for the controller that we come back to."""
        return [
            pb.InFlight(call_id=call_id, indexes=list(call)) for call_id, call in self.calls.items()
        ]

    def unconfirmed_results(self) -> Iterator[pb.Done]:
        """Every result that was not confirmed, to be sent again."""
        for call in self.calls.values():
            batch: list[Assignment] = []
            size = 0
            for one in list(call.values()):
                if one.state is not AssignmentState.DONE:
                    continue
                batch.append(one)
                size += len(one.result)
                if size >= _MESSAGE_BYTES:
                    yield _message(batch)
                    batch, size = [], 0
            if batch:
                yield _message(batch)


def _message(batch: list[Assignment]) -> pb.Done:
    order = batch[0].order
    return pb.Done(
        call_id=order.call_id,
        function_id=order.function_id,
        app_id=order.app_id,
        indexes=[one.index for one in batch],
        statuses=[one.status for one in batch],  # type: ignore[misc]
        results=[one.result for one in batch],
    )
