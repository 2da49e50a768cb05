"""An agent that the test plays, for a real controller: what it is told is put into queues."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.version import PROTOCOL
from tests.controller.harness import Client, Instance, new_id


class FakeAgent:
    """An agent whose work the test does."""

    def __init__(
        self,
        instance: Instance,
        agent_id: str = "",
        *,
        max_runners: int = 4,
        pid: int = 0,
        protocol: int = PROTOCOL,
    ) -> None:
        self._client = Client(instance)
        self._call: Any = None
        self._writing = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._answer: Callable[[pb.Assign], pb.Result | None] | None = None
        self.hello = pb.AgentHello(
            agent_id=agent_id or new_id("ag"),
            host="test",
            protocol=protocol,
            max_runners=max_runners,
            pid=pid or os.getpid(),
        )
        self.orders: list[pb.Assign] = []  # as they came, with many inputs each
        self.assigned: asyncio.Queue[pb.Assign] = asyncio.Queue()
        self.acks: asyncio.Queue[pb.AckDone] = asyncio.Queue()
        self.cancels: asyncio.Queue[pb.CancelInputs] = asyncio.Queue()
        self.closes: asyncio.Queue[str] = asyncio.Queue()
        self.close_orders: dict[str, pb.CloseAppOnAgent] = {}  # the last of each app
        self.recreates: list[str] = []  # apps that it was to close so
        self.opens: asyncio.Queue[str] = asyncio.Queue()
        self.lives: asyncio.Queue[str] = asyncio.Queue()
        self.retires: asyncio.Queue[pb.RetireApp] = asyncio.Queue()
        self.prepares: asyncio.Queue[pb.PrepareOnAgent] = asyncio.Queue()
        self.plans: asyncio.Queue[pb.FollowPlan] = asyncio.Queue()
        self.log_lines: list[str] = []
        self.confirms_closing = self.confirms_retiring = True
        #: Why no runner of a new version starts; "": it does, None: the test answers itself.
        self.starts: str | None = ""
        #: What it says of another Python that runs a function.
        self.python_note = ""

    async def __aenter__(self) -> FakeAgent:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()
        await self._client.channel.close()

    async def connect(self, in_flight: list[pb.Assign] | None = None) -> pb.Welcome:
        """Say hello, and which inputs are still here; the controller's welcome."""
        call = self._client.gateway.Session(metadata=self._client.metadata, wait_for_ready=True)
        self._call = call
        hello = pb.AgentHello()
        hello.CopyFrom(self.hello)
        for assign in in_flight or ():
            hello.in_flight.append(
                pb.InFlight(call_id=assign.call_id, indexes=[assign.inputs[0].index])
            )
        await call.write(pb.AgentMessage(hello=hello))
        first = await call.read()
        if first is grpc.aio.EOF:
            raise grpc.aio.AioRpcError(
                await call.code(),
                await call.initial_metadata(),
                await call.trailing_metadata(),
                details=await call.details(),
            )
        self._reader = asyncio.create_task(self._read(call))
        return first.welcome  # type: ignore[no-any-return]

    async def disconnect(self) -> None:
        """Break the connection."""
        if self._call is not None:
            self._call.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._call = self._reader = None

    async def lost_connection(self) -> None:
        """Return when the controller is gone."""
        assert self._reader is not None
        await asyncio.gather(self._reader, return_exceptions=True)

    async def all_assigned(self) -> list[pb.Assign]:
        """What it was given and nobody looked at, until nothing more comes for a moment."""
        found: list[pb.Assign] = []
        with contextlib.suppress(TimeoutError):
            while True:
                found.append(await asyncio.wait_for(self.assigned.get(), 0.3))
        return found

    def answer(self, answer: Callable[[pb.Assign], pb.Result | None] | None) -> None:
        """Have every input answered by ``answer`` from now on; None from it leaves it be."""
        self._answer = answer

    async def _read(self, call: Any) -> None:
        while True:
            message = await call.read()
            if message is grpc.aio.EOF:
                return
            kind = message.WhichOneof("kind")
            if kind == "assign":
                self.orders.append(message.assign)
                for assign in one_by_one(message.assign):
                    result = self._answer(assign) if self._answer else None
                    if result is not None:
                        await self.send(done=done_of(result, assign.app_id))
                    else:
                        self.assigned.put_nowait(assign)
            elif kind == "ack":
                self.acks.put_nowait(message.ack)
            elif kind == "cancel":
                self.cancels.put_nowait(message.cancel)
            elif kind == "close_app":
                self.close_orders[message.close_app.app_id] = message.close_app
                self.closes.put_nowait(message.close_app.app_id)
                if message.close_app.recreate:
                    self.recreates.append(message.close_app.app_id)
                if self.confirms_closing:
                    await self.closed(message.close_app.app_id)
            elif kind == "open":
                self.opens.put_nowait(message.open.function_id)
            elif kind == "retire":
                self.retires.put_nowait(message.retire)
                if self.confirms_retiring:
                    retired = pb.AppRetired(request_id=message.retire.request_id)
                    await self.send(retired=retired)
            elif kind == "live":
                self.lives.put_nowait(message.live.app_id)
            elif kind == "prepare":
                self.prepares.put_nowait(message.prepare)
                if self.starts is not None and message.prepare.strategy == "warm":
                    done = pb.PrepareDone(
                        request_id=message.prepare.request_id,
                        ok=not self.starts,
                        reason=self.starts,
                    )
                    await self.send(prepared=done)
            elif kind == "tell_python":
                request_id = message.tell_python.request_id
                told = pb.PythonTold(request_id=request_id, note=self.python_note)
                await self.send(python_told=told)
            elif kind == "plan":
                self.plans.put_nowait(message.plan)

    async def send(self, **message: Any) -> None:
        """Send one AgentMessage."""
        async with self._writing:
            await self._call.write(pb.AgentMessage(**message))

    async def closed(self, app_id: str) -> None:
        """Say that an app was closed, by the last order to do so."""
        request_id = self.close_orders[app_id].request_id
        await self.send(app_closed=pb.AppClosed(app_id=app_id, request_id=request_id))

    async def done(
        self,
        assign: pb.Assign,
        data: bytes = b"result",
        status: pb.ResultStatus = pb.SUCCESS,
        message: str = "",
    ) -> None:
        """Report a result."""
        result = result_of(assign, data, status, message)
        await self.send(done=done_of(result, assign.app_id))


def one_by_one(assign: pb.Assign) -> list[pb.Assign]:
    """An order of one input for each of its inputs."""
    orders = []
    for item in assign.inputs:
        order = pb.Assign()
        order.CopyFrom(assign)
        del order.inputs[:]
        order.inputs.append(item)
        orders.append(order)
    return orders


def done_of(result: pb.Result, app_id: str) -> pb.Done:
    """The message with a result."""
    return pb.Done(
        call_id=result.call_id,
        function_id=result.function_id,
        app_id=app_id,
        indexes=[result.index],
        statuses=[result.status],
        results=[result.SerializeToString()],
    )


def result_of(
    assign: pb.Assign,
    data: bytes = b"result",
    status: pb.ResultStatus = pb.SUCCESS,
    message: str = "",
) -> pb.Result:
    """A result as an agent makes it."""
    return pb.Result(
        call_id=assign.call_id,
        index=assign.inputs[0].index,
        status=status,
        data=data,
        message=message,
        strategy="warm",
        runner_id="ru-test",
        function_id=assign.function_id,
        submitted_ns=assign.submitted_ns,
    )


def echo(assign: pb.Assign) -> pb.Result:
    """An answer: the payload."""
    return result_of(assign, assign.inputs[0].payload)
