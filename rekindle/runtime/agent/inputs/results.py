"""The results of inputs on their way to the controller, and the inputs that go back to it."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field

from rekindle.background_tasks import BackgroundTasks
from rekindle.execution import nested_calls
from rekindle.runtime.agent.inputs.assignment import Assignment
from rekindle.runtime.agent.inputs.blobs import Blobs
from rekindle.runtime.agent.inputs.inflight import InFlight
from rekindle.runtime.agent.inputs.outcome import Outcomes, of_one
from rekindle.runtime.agent.uplink import Uplink
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.frames import Header
from rekindle.wire.logs import kv

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Results:
    """Sends what became of inputs; large results go into the blob store before."""

    _in_flight: InFlight
    _blobs: Blobs
    _uplink: Uplink
    _tasks: BackgroundTasks = field(default_factory=BackgroundTasks)

    def may_run(self) -> bool:
        """Whether inputs may be run: no, while too many results are unconfirmed."""
        return not self._in_flight.full

    def done(self, outcomes: Outcomes) -> None:
        """Inputs of one call have their results."""
        if self._blobs.large(outcomes):
            self._tasks.spawn(self._put_aside(outcomes))
        else:
            self._send(outcomes)

    def one(self, assignment: Assignment, result: pb.Result) -> None:
        """An input has its result."""
        self.done(of_one(assignment, result))

    async def _put_aside(self, outcomes: Outcomes) -> None:
        await self._blobs.put_aside(outcomes)
        self._send(outcomes)

    def _send(self, outcomes: Outcomes) -> None:
        message = pb.AgentMessage()
        done = message.done
        settle = self._in_flight.settle
        for one, status, result in zip(
            outcomes.inputs, outcomes.statuses, outcomes.results, strict=True
        ):
            if settle(one, status, result):
                done.indexes.append(one.index)
                done.statuses.append(status)  # type: ignore[arg-type]
                done.results.append(result)
        if not done.indexes:
            return  # second results of inputs that the controller has given up
        order = outcomes.order
        done.call_id, done.function_id, done.app_id = order.call_id, order.function_id, order.app_id
        done.execute_ns = outcomes.execute_ns
        self._uplink.send(message)

    def returned(self, one: Assignment, reason: str, *, counts: bool = True) -> None:
        """Its runner died under it; the controller may give it to a runner again.

        ``counts``: as a delivery that was lost, which the input may be to blame for.
        """
        log.warning("runner lost", extra=kv(input=one.input_id, reason=reason))
        self._in_flight.give_up(one)
        returned = pb.InputsReturned(
            call_id=one.order.call_id,
            indexes=[one.index],
            reason=reason,
            begun=[one.index] if counts else [],
        )
        self._uplink.send(pb.AgentMessage(returned=returned))

    def nested(self, _header: Header, body: bytes) -> None:
        """A runner tells of calls that its inputs made."""
        calls = [
            pb.NestedCall(**dict(zip(nested_calls.FIELDS, one, strict=True)))
            for one in json.loads(body)
        ]
        self._uplink.send(pb.AgentMessage(nested=pb.NestedCalls(calls=calls)))

    async def close(self) -> None:
        """Give up what is still on its way into the store."""
        await self._tasks.cancel()
