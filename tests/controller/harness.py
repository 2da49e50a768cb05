"""A real controller and a real Redis as processes, and a client stub. Agents: fake_agent.py.

Nothing here sleeps to wait for what says that it is so: a controller says ``ready``.
"""

from __future__ import annotations

import asyncio
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
import redis

from rekindle.controller.storage.embedded_redis import redis_socket
from rekindle.paths import controller_socket
from rekindle.sdk.connection import client
from rekindle.sdk.objects import aio_socket
from rekindle.sdk.objects import link as objects
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import rekindle_pb2_grpc as pb_grpc
from rekindle.wire.callid import new_call_id
from rekindle.wire.messages import spec_message
from rekindle.wire.phases import now_ns
from rekindle.wire.spec import FunctionSpec, RetrySpec
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
    """Run a coroutine test, with a limit, and end what it left: tasks, and timers, which in a
    controller end with its process, and would go off in a test that comes later."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def limited() -> None:
            try:
                async with asyncio.timeout(90):
                    await test(*args, **kwargs)
            finally:
                while left := asyncio.all_tasks() - {asyncio.current_task()}:
                    for task in left:
                        task.cancel()
                    await asyncio.gather(*left, return_exceptions=True)
                for timer in _timers():
                    timer.cancel()

        _RUNNER.run(limited())

    run.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return run


def _timers() -> list[asyncio.TimerHandle]:
    """Those of the loop that are to go off, but for one of each connection of ``Dict`` and
    ``Queue``: it stays open for as long as that timer is there."""
    scheduled: list[Any] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    kept = aio_socket.__name__
    return [one for one in scheduled if getattr(one._callback, "__module__", "") != kept]


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

    def redis_client(self, **options: Any) -> redis.Redis:
        """A connection of the test's own to its Redis."""
        return redis.Redis(unix_socket_path=str(redis_socket(self.directory)), **options)

    def start_controller(self, *more: str, program: str = CONTROLLER) -> None:
        """Start the controller and wait until it serves."""
        log = self.directory / "logs" / "controller.log"
        argv = ["--dir", str(self.directory), *more]
        self.controller = Program(program, argv, self.environ, log)
        assert self.controller.first_line() == "ready\n", self.log()

    def refused_controller(self) -> str:
        """Start the controller, which ends at once; what it says."""
        log = self.directory / "logs" / "controller.log"
        self.controller = Program(CONTROLLER, ["--dir", str(self.directory)], self.environ, log)
        return self.controller.first_line()

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
        """End everything and remove the directory; what this process had of it as a client, too."""
        for process in (self.controller, self.redis):
            if process is not None and process.runs:
                process.kill()
        client.forget(self.directory)
        objects.forget(self.directory)
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


def spec(name: str = "double", **more: Any) -> FunctionSpec:
    """A function's spec."""
    if isinstance(more.get("retries"), dict):
        more["retries"] = RetrySpec(**more["retries"])
    return FunctionSpec(app_name="app", name=name, **more)
