"""The results of inputs on their way to the controller, and the inputs that go back to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterable
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

#: An agent that ends waits so long for large results to be stored; others run again.
_STORING_S = 5.0


@dataclass(eq=False)
class Results:
    """Sends what became of inputs; large results go into the blob store before."""

    _in_flight: InFlight
    _blobs: Blobs
    _uplink: Uplink
    _tasks: BackgroundTasks = field(default_factory=BackgroundTasks)
    #: Why the agent ends; what has not run to its end goes back to the controller from then on.
    leaving: str = ""

    @property
    def max_bytes(self) -> int:
        """What a result may have."""
        return self._blobs.limit

    def may_run(self) -> bool:
        """Whether inputs may be run: no, while too many results are not stored or confirmed."""
        return not self._in_flight.full and not self._blobs.full

    def done(self, outcomes: Outcomes, *, soon: bool = False) -> None:
        """Inputs of one call have their results; ``soon``: see Uplink."""
        if self._blobs.large(outcomes):
            self._tasks.spawn(self._put_aside(outcomes, soon))
        else:
            self._send(outcomes, soon)

    def one(self, assignment: Assignment, result: pb.Result) -> None:
        """An input has a result that none of its code made: cancelled, or not to be started."""
        if self.leaving:  # it may run elsewhere, or here after the next start
            self.returned(assignment, self.leaving, counts=False)
            return
        self.done(of_one(assignment, result))

    async def _put_aside(self, outcomes: Outcomes, soon: bool) -> None:
        await self._blobs.put_aside(outcomes)
        self._send(outcomes, soon)

    def _send(self, outcomes: Outcomes, soon: bool) -> None:
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
        more = self._in_flight.has_undone(order.call_id)
        self._uplink.send(message, more=more, soon=soon)

    def returned(self, one: Assignment, reason: str, *, counts: bool = True) -> None:
        """Give an input back whose runner died under it: the controller may have it run again.

        ``counts``: as a delivery that was lost, which the input may be to blame for.
        """
        level = logging.INFO if self.leaving else logging.WARNING
        log.log(level, "given back", extra=kv(input=one.input_id, reason=reason))
        self._give_back(one.order.call_id, [one], reason, counts=counts)

    def give_back(self, inputs: Iterable[Assignment], reason: str) -> None:
        """Inputs that had not begun go back to the controller, those of a call together."""
        by_call: dict[str, list[Assignment]] = {}
        for one in inputs:
            by_call.setdefault(one.order.call_id, []).append(one)
        for call_id, together in by_call.items():
            self._give_back(call_id, together, reason, counts=False)

    def _give_back(
        self, call_id: str, inputs: list[Assignment], reason: str, *, counts: bool
    ) -> None:
        indexes = [one.index for one in inputs]
        for one in inputs:
            self._in_flight.give_up(one)
        returned = pb.InputsReturned(
            call_id=call_id, indexes=indexes, reason=reason, begun=indexes if counts else []
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
        """Wait for what is on its way into the store, and give up what takes too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STORING_S):
                await self._tasks.finish()
        await self._tasks.cancel()
