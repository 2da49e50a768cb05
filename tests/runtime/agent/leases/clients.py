"""A client of a node, and functions for it to call: leases by hand, call after call."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rekindle.exception import InputCancellation
from rekindle.runtime.agent.leases.requests import LeaseRequest
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.sdk.calls.lease import Lease
from rekindle.wire import direct_frames as wire
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.exceptions import ExceptionRecord, rebuild_exception
from rekindle.wire.phases import Strategy
from rekindle.wire.shared import pack_input, unpack
from tests.runtime.agent.harness import PATIENCE_S, Harness


class Worker:
    """Does as it is told."""

    def load(self) -> None:
        self.count = 0

    def who(self) -> str:
        return socket.gethostname()

    def add(self, path: str, _data: bytes = b"") -> int:
        with open(path, "ab") as file:
            file.write(b".")
        self.count = getattr(self, "count", 0) + 1
        return self.count

    def fail(self) -> None:
        raise LookupError("no such thing")

    def talk(self, text: str) -> None:
        print(text)

    def sleep(self, path: str, seconds: float) -> str:
        Path(path).touch()
        try:
            time.sleep(seconds)
        except InputCancellation:
            Path(path).write_text("cancelled")
            raise
        return "slept"

    def sleep_after_the_signal(self, path: str, seconds: float) -> None:
        """Python does not look at the signal that ends the pause before it sleeps."""
        import collections
        import ctypes
        import functools
        import operator

        sleep = functools.partial(time.sleep, seconds)
        pause = ctypes.PyDLL(None).pause
        try:
            collections.deque(map(operator.call, [pause, sleep]), maxlen=0)
        except InputCancellation:
            Path(path).write_text("cancelled")
            raise

    def double(self, array: Any) -> Any:
        array *= 2
        return array

    def length(self, data: bytes) -> Any:
        return len(data), data

    def crash(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    def lock(self) -> object:
        return threading.Lock()

    def exit_(self) -> None:
        print("goodbye")


class Client:
    """A client of a node: asks for leases, calls, and goes through the node where it must."""

    def __init__(self, h: Harness, function_id: str) -> None:
        self.h = h
        self.function_id = function_id
        self._asked = 0
        self._calls = 0

    async def ask(
        self, strategy: Strategy | None = None, *, measure: bool = False
    ) -> pb.LeaseGranted:
        self._asked += 1
        request_id = f"{id(self)}-{self._asked}"
        answered: asyncio.Future[pb.LeaseGranted] = asyncio.get_running_loop().create_future()
        request = LeaseRequest(f"le-{request_id}", 0, 0, answered.set_result, strategy, measure)
        await self.h.node.lend(self.function_id, b"", request)
        granted = await answered
        granted.request_id = request_id
        return granted

    def reply_for(self, granted: pb.LeaseGranted) -> pb.LeaseReply:
        return pb.LeaseReply(
            granted=True,
            lease_id=f"le-{granted.request_id}",
            socket=granted.socket,
            token=granted.token,
            runner_id=granted.runner_id,
        )

    async def lease(self) -> Lease:
        granted = await self.ask()
        assert granted.ok, granted.reason
        return await Lease.take_up(self.reply_for(granted))

    async def call(self, held: Lease, method: str, *args: Any) -> wire.ReplyFrame | None:
        self._calls += 1
        call_id = f"fc-direct-{self._calls}"
        packed = pack_input(args, {})
        try:
            return await asyncio.to_thread(held.call, call_id, method, packed)
        finally:
            packed.close()

    async def value(self, held: Lease, method: str, *args: Any) -> Any:
        reply = await self.call(held, method, *args)
        assert reply is not None, await asyncio.to_thread(held.fate)
        value = unpack(reply.data, reply.take_fd())
        if reply.status != wire.OK:
            raise rebuild_exception(ExceptionRecord(*value))
        return value


def is_marked(h: Harness, call_id: str) -> bool:
    return any(line.stream == "mark" and line.call_id == call_id for line in h.uplink.lines)


def is_idle(runner: Runner) -> bool:
    return runner.state is RunnerState.IDLE


async def until(condition: Callable[[], Any]) -> None:
    """Processes and pages tell nobody when they change."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def warm(h: Harness, code: Any = Worker, **spec: Any) -> tuple[str, Client]:
    """A function with one warm runner, and a client of it."""
    function_id = h.add(code, **spec)
    await h.call(function_id, "who")
    await until(lambda: all(map(is_idle, h.runners(function_id))))
    return function_id, Client(h, function_id)
