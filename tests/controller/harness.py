"""A real controller and a real Redis as processes, a client stub, and an agent that the test plays.

Nothing here sleeps to wait for something: processes say ``ready``, and the fake agent puts what it
is told into queues.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import secrets
import shutil
import string
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from rekindle.paths import controller_socket
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import rekindle_pb2_grpc as pb_grpc
from rekindle.wire.callid import new_call_id
from rekindle.wire.messages import spec_message
from rekindle.wire.phases import now_ns
from rekindle.wire.spec import FunctionSpec, RetrySpec
from rekindle.wire.version import PROTOCOL
from tests.controller.processes import CONTROLLER, REDIS, Program
from tests.redis_server import wait_for_redis

TOKEN = "a-token-of-the-tests"
PATIENCE_S = 30.0
_BASE62 = string.ascii_letters + string.digits

#: Waits that an operator can set, short enough for tests and long enough for a slow machine.
QUICK = {
    "REKINDLE_AGENT_GRACE_S": "1.5",
    "REKINDLE_HOLD_GRACE_S": "0.3",
    "REKINDLE_CLOSE_GRACE_S": "5",
    "REKINDLE_CRASH_BACKOFF_S": "0.05",
    "REKINDLE_DEPLOY_AGENT_S": "1",
}


def new_id(prefix: str) -> str:
    """An id as a client makes it."""
    if prefix == "fc":
        return new_call_id()
    return f"{prefix}-" + "".join(secrets.choice(_BASE62) for _ in range(22))


#: One loop for all tests of the process: gRPC's asyncio side keeps to the loops that it has seen,
#: and trips over those that are closed.
_RUNNER = asyncio.Runner()


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine test, with a limit, and end what it left running."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def limited() -> None:
            try:
                async with asyncio.timeout(90):
                    await test(*args, **kwargs)
            finally:
                left = asyncio.all_tasks() - {asyncio.current_task()}
                for task in left:
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)

        _RUNNER.run(limited())

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return run


class Instance:
    """An instance directory with its Redis and its controller."""

    def __init__(self, directory: Path, **environ: str) -> None:
        self.directory = directory
        self.environ = {**os.environ, **QUICK, **environ}
        self.environ["REKINDLE_SECRETS_KEY_FILE"] = str(directory / "secrets.key")
        self.environ.pop("REKINDLE_REDIS_URL", None)
        self.redis: Program | None = None
        self.controller: Program | None = None
        (directory / "token").write_text(TOKEN + "\n")
        (directory / "logs").mkdir(exist_ok=True)

    @property
    def target(self) -> str:
        """Where the controller listens."""
        return f"unix:{controller_socket(self.directory)}"

    def start_redis(self) -> None:
        """Start Redis and wait until it answers."""
        log = self.directory / "logs" / "redis-start.log"
        self.redis = Program(REDIS, ["--dir", str(self.directory)], self.environ, log)
        wait_for_redis(self.directory, PATIENCE_S)

    def start_controller(self, *more: str) -> None:
        """Start the controller and wait until it serves."""
        log = self.directory / "logs" / "controller.log"
        argv = ["--dir", str(self.directory), *more]
        self.controller = Program(CONTROLLER, argv, self.environ, log)
        assert self.controller.first_line() == "ready\n", self.log()

    def kill_redis(self) -> None:
        """SIGKILL."""
        assert self.redis is not None
        self.redis.kill()

    def kill_controller(self) -> None:
        """SIGKILL."""
        assert self.controller is not None
        self.controller.kill()

    def end_controller(self) -> int:
        """SIGTERM; the exit status."""
        assert self.controller is not None
        return self.controller.end(PATIENCE_S)

    def log(self) -> str:
        """What the controller logged."""
        return (self.directory / "logs" / "controller.log").read_text()

    async def until_logged(self, text: str, times: int = 1) -> None:
        """Wait until the controller has logged something so often."""
        while self.log().count(text) < times:
            await asyncio.sleep(0.02)  # it gives no event

    def close(self) -> None:
        """End everything and remove the directory."""
        for process in (self.controller, self.redis):
            if process is not None and process.runs:
                process.kill()
        shutil.rmtree(self.directory)


@contextmanager
def running_instance(*, start: bool = True, **environ: str) -> Iterator[Instance]:
    """A fresh instance, running unless told otherwise, gone afterwards."""
    instance = Instance(Path(tempfile.mkdtemp(prefix="rk-test-")), **environ)
    try:
        if start:
            instance.start_redis()
            instance.start_controller()
        yield instance
    finally:
        instance.close()


class Client:
    """A client's stub, with the token."""

    def __init__(self, instance: Instance, token: str = TOKEN) -> None:
        self.channel = grpc.aio.insecure_channel(
            instance.target,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 200),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self.stub: Any = pb_grpc.ControllerStub(self.channel)
        self.gateway: Any = pb_grpc.AgentGatewayStub(self.channel)
        self.metadata = (("authorization", f"Bearer {token}"),)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()

    def call(self, method: str, request: Any) -> Any:
        """An RPC of the Controller service; waits for a controller that is coming up."""
        return getattr(self.stub, method)(request, metadata=self.metadata, wait_for_ready=True)

    async def register(
        self,
        name: str = "app",
        *functions: FunctionSpec,
        ephemeral: bool = False,
        app_id: str = "",
        source: bytes = b"",
    ) -> tuple[str, list[str]]:
        """Register an app with functions; returns its id and theirs."""
        app_id = app_id or new_id("ap")
        functions = functions or (FunctionSpec(app_name=name, name="double"),)
        reply = await self.call(
            "RegisterApp",
            pb.RegisterAppRequest(
                app_id=app_id,
                name=name,
                ephemeral=ephemeral,
                functions=[
                    pb.FunctionDef(
                        spec=spec_message(spec),
                        code=b"code of " + spec.name.encode(),
                        secrets={"KEY": "value"},
                    )
                    for spec in functions
                ],
                source=pb.SourceBundle(digest="d1" if source else "", data=source),
            ),
        )
        return app_id, [handle.function_id for handle in reply.functions]

    def invoke(
        self,
        function_id: str,
        payload: bytes = b"x",
        *,
        call_id: str = "",
        strategy: str = "",
        lost: int = 0,
    ) -> Any:
        """Invoke with one input; awaiting it gives the Result."""
        return self.call(
            "Invoke",
            pb.SubmitRequest(
                call_id=call_id or new_id("fc"),
                function_id=function_id,
                inputs=[pb.Input(index=0, payload=payload)],
                strategy=strategy,
                submitted_ns=now_ns(),
                lost=lost,
            ),
        )

    async def submit(
        self,
        function_id: str,
        payloads: dict[int, bytes],
        *,
        call_id: str = "",
        last: bool = True,
    ) -> str:
        """Submit inputs by index; returns the call's id."""
        call_id = call_id or new_id("fc")
        await self.call(
            "Submit",
            pb.SubmitRequest(
                call_id=call_id,
                function_id=function_id,
                inputs=[pb.Input(index=i, payload=data) for i, data in payloads.items()],
                last=last,
                submitted_ns=now_ns(),
            ),
        )
        return call_id

    async def results(self, call_id: str, **request: Any) -> list[pb.Result]:
        """All results of a call, in the order in which they come."""
        stream = self.call("Results", pb.ResultsRequest(call_id=call_id, **request))
        return [pb.Result.FromString(raw) async for batch in stream for raw in batch.results]

    def reader(self, call_id: str) -> ResultReader:
        """The same, read one by one."""
        return ResultReader(self.call("Results", pb.ResultsRequest(call_id=call_id)))


class ResultReader:
    """Results of a stream one by one, however they travel."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._read: list[bytes] = []

    async def read(self) -> Any:
        """The next result, or EOF."""
        while not self._read:
            batch = await self._stream.read()
            if batch is grpc.aio.EOF:
                return batch
            self._read.extend(batch.results)
        return pb.Result.FromString(self._read.pop(0))

    def cancel(self) -> None:
        """Hang up."""
        self._stream.cancel()


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


def spec(name: str = "double", **more: Any) -> FunctionSpec:
    """A function's spec."""
    if isinstance(more.get("retries"), dict):
        more["retries"] = RetrySpec(**more["retries"])
    return FunctionSpec(app_name="app", name=name, **more)
