"""One input: from the arguments in the caller's hands to the value, or to a FunctionCall.

Arguments are pickled and values unpickled on the caller's thread. A call is made directly where
this process holds a lease on a warm runner (calls/leases.py), and through the controller otherwise:
a function's first call, one whose strategy is asked for, one that no runner is free for, and one
whose runner was lost.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rekindle.exception import FunctionTimeoutError, StrategyUnavailableError
from rekindle.execution import nesting
from rekindle.sdk.calls import leases, records
from rekindle.sdk.calls.arguments import MAX_PAYLOAD_BYTES, packed
from rekindle.sdk.calls.outcome import passable, settle
from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.client import Client
from rekindle.sdk.function_call import FunctionCall
from rekindle.sdk.ids import new_call_id
from rekindle.sdk.running import RunningApp, ask_strategy, asked_strategy
from rekindle.wire import direct_frames as wire
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.exceptions import ExceptionRecord, rebuild_exception
from rekindle.wire.phases import now_ns
from rekindle.wire.serialization import unpickling_error
from rekindle.wire.shared import Packed, pack_input, unpack
from rekindle.wire.usercode import came_by_signal

if TYPE_CHECKING:
    from rekindle.sdk.function import Function


def remote(function: Function[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call and wait."""
    call = _Call.begin(function, args, kwargs)
    slot = call.slot()
    if slot is not None:
        held = slot.take()
        if held is None and slot.may_ask():
            with nesting.waiting():
                held = background().run(slot.ask(call.depth))
        while held is not None:
            value = call.packed(held)
            if value is None:
                slot.give_back(held)
                break
            try:
                with nesting.waiting():
                    reply = held.call(call.call_id, function._method, value, call.depth)
            except leases.NotRunError:
                held = slot.take()  # this one was taken back; another may be there
                continue
            finally:
                value.close()
            if reply is None:
                call.lost(held.runner_id, held.fate())
                break
            slot.give_back(held)
            if reply.printed and call.followed:
                background().run(call.printed())
            return call.settle(held, reply)
    request = call.request()
    with nesting.waiting():
        result = background().run(_invoke(call.client, call.running, request))
    result.deliveries += call.lost_runners
    return settle(result, function.name, call.submitted_ns)


async def remote_aio(
    function: Function[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call and await."""
    call = _Call.begin(function, args, kwargs)
    slot = call.slot()
    if slot is not None:
        held = slot.take()
        if held is None and slot.may_ask():
            with nesting.waiting():
                held = await background().arun(slot.ask(call.depth))
        while held is not None:
            value = call.packed(held)
            if value is None:
                slot.give_back(held)
                break
            try:
                with nesting.waiting():
                    reply = await held.call_aio(call.call_id, function._method, value, call.depth)
            except leases.NotRunError:
                held = slot.take()
                continue
            finally:
                value.close()
            if reply is None:
                call.lost(held.runner_id, await asyncio.to_thread(held.fate))
                break
            slot.give_back(held)
            if reply.printed and call.followed:
                await background().arun(call.printed())
            try:
                return call.settle(held, reply)
            except (StopIteration, StopAsyncIteration) as error:
                raise passable(error) from error
    request = call.request()
    with nesting.waiting():
        result = await background().arun(_invoke(call.client, call.running, request))
    result.deliveries += call.lost_runners
    try:
        return settle(result, function.name, call.submitted_ns)
    except (StopIteration, StopAsyncIteration) as error:
        raise passable(error) from error


def spawn(
    function: Function[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> FunctionCall:
    """Submit."""
    call = _Call.begin(function, args, kwargs)
    request = call.request()
    background().run(call.client.submit(request))
    return handle(function, request, call.running, call.client, inputs=1)


async def spawn_aio(
    function: Function[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> FunctionCall:
    """Submit, awaited."""
    call = _Call.begin(function, args, kwargs)
    request = call.request()
    await background().arun(call.client.submit(request))
    return handle(function, request, call.running, call.client, inputs=1)


def prepare(function: Function[..., Any], strategy: str, timeout: float) -> None:
    """Make a strategy possible."""
    with ask_strategy(strategy):  # checks the name
        pass
    client, function_id, _ = function._declaration.resolve()
    request = pb.PrepareRequest(
        function_id=function_id, params=function.params, strategy=strategy, timeout_s=timeout
    )
    reply = background().run(client.prepare(request))
    if not reply.ok:
        raise StrategyUnavailableError(f"{function.name} by {strategy}: {reply.reason}")


def handle(
    function: Function[..., Any],
    request: pb.SubmitRequest,
    running: RunningApp | None,
    client: Client,
    inputs: int,
) -> FunctionCall:
    """The FunctionCall of a submitted request."""
    return FunctionCall(
        request.call_id,
        function=function.name,
        inputs=inputs,
        instance=str(client.instance),
        app=running,
        submitted_ns=request.submitted_ns,
    )


@dataclass(slots=True)
class _Call:
    """One call of one input on its way."""

    function: Function[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    submitted_ns: int
    call_id: str
    client: Client
    function_id: str
    running: RunningApp | None
    #: How many calls it is made inside of.
    depth: int = 0
    #: Runners that were lost under it.
    lost_runners: int = 0

    @classmethod
    def begin(
        cls, function: Function[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> _Call:
        submitted_ns = now_ns()
        depth = nesting.depth_of_calls(function.name)
        client, function_id, running = function._declaration.resolve()
        return cls(
            function, args, kwargs, submitted_ns, new_call_id(), client, function_id, running, depth
        )

    # ---- through the controller

    def request(self) -> pb.SubmitRequest:
        """What the controller gets. Raises SerializationError, RequestSizeError."""
        function = self.function
        payload = packed(function, self.args, self.kwargs)
        return pb.SubmitRequest(
            call_id=self.call_id,
            function_id=self.function_id,
            params=function.params,
            inputs=[pb.Input(index=0, method=function._method, payload=payload)],
            last=True,
            strategy=asked_strategy(),
            submitted_ns=self.submitted_ns,
            depth=self.depth,
        )

    # ---- directly

    def slot(self) -> leases.Slot | None:
        """Where leases for it are; None where it has to go through the controller."""
        if asked_strategy():
            return None
        return leases.slot_of(self.client, self.function_id, self.function.params)

    @property
    def followed(self) -> bool:
        """Whether this process shows what the call prints."""
        return self.running is not None and self.running.logs is not None

    def packed(self, held: leases.Held) -> Packed | None:
        """The arguments for a runner. None for those that cannot travel: ``request`` says why."""
        try:
            limit = min(MAX_PAYLOAD_BYTES, held.limit_bytes - len(self.function.params))
            return pack_input(self.args, self.kwargs, limit, held.files)
        except BaseException as error:
            if came_by_signal(error):
                raise
            return None  # a user's __reduce__ may raise anything

    async def printed(self) -> None:
        """Wait until what it printed is shown."""
        if self.running is not None and self.running.logs is not None:
            await self.running.logs.marked(self.call_id)

    def settle(self, held: leases.Held, reply: wire.Reply) -> Any:
        """The value; raises what the function raised. The record is complete then."""
        ok = False
        try:
            what = self.function.name
            try:
                value = unpack(reply.data, reply.take_fd(), held.gone)
            except BaseException as error:
                raise unpickling_error(f"the result of {what}", error) from error
            if reply.status != wire.OK:
                raise rebuild_exception(ExceptionRecord(*value))
            ok = True
            return value
        finally:
            self._record(held.runner_id, ok, reply.received_ns, reply.loaded_ns, reply.executed_ns)

    def lost(self, runner_id: str, fate: leases.Fate) -> None:
        """No answer came: raises FunctionTimeoutError, or returns where it may run again."""
        if fate.kind == "timeout":
            now = now_ns()
            self._record(runner_id, False, self.submitted_ns, self.submitted_ns, now)
            raise FunctionTimeoutError(fate.message)
        self.lost_runners += 1

    def _record(
        self, runner_id: str, ok: bool, received_ns: int, loaded_ns: int, executed_ns: int
    ) -> None:
        records.add_unmade(
            leases.DirectRecord(
                self.call_id,
                self.function.name,
                runner_id,
                ok,
                self.submitted_ns,
                received_ns,
                loaded_ns,
                executed_ns,
                now_ns(),
            )
        )


async def _invoke(
    client: Client, running: RunningApp | None, request: pb.SubmitRequest
) -> pb.Result:
    result = await client.invoke(request)
    if running is not None and running.logs is not None:
        await running.logs.reached(result.log_seq)
    return result
