"""What tests of clients whose connection goes to a runner with its start ask, and whom."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rekindle import paths
from rekindle.wire import direct_frames as wire
from rekindle.wire.exceptions import ExceptionRecord
from rekindle.wire.frames import FrameSocket, Header, pack_frame
from rekindle.wire.node_token import node_token
from rekindle.wire.shared import pack_input, unpack
from tests.runtime.agent.harness import Gate, Harness

ID = "le-00000000000000aa"


class Worker:
    """Says where it ran, and leaves a trace."""

    def who(self, trace: str = "") -> str:
        if trace:
            Path(trace).touch()
        return socket.gethostname()

    def crash(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def talk(self) -> None:
        print("in the call")


class Held:
    """Its hook waits at a gate, and says that it does."""

    who = Worker.who

    def enter(self) -> None:
        Path(os.environ["HELD"]).touch()
        with open(os.environ["GATE"]) as gate:
            gate.read(0)


class Model:
    """Has a template and spares, and says what its runner has around it."""

    def load(self) -> None:
        self.loaded = True

    def environment(self) -> dict[str, str | None]:
        names = ("MY_SECRET", "REKINDLE_RUNNER_ID", "REKINDLE_DIR", "REKINDLE_APP_ID")
        return {name: os.environ.get(name) for name in names}

    def crash(self) -> None:
        os._exit(3)

    def note(self, path: str) -> None:
        with open(path, "a") as file:
            file.write("called\n")


class Asking:
    """A client's connection, with a call sent along."""

    def __init__(self, h: Harness, function_id: str, method: str, *args: Any, **ask: Any) -> None:
        h.node.local_clients._token = "secret"
        self.path = str(paths.direct_socket(h.home / "instance"))
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)
        self.token = node_token("secret", "ap-test")
        hello = {
            "ask": function_id,
            "lease": ID,
            "params": "",
            "depth": 0,
            "strategy": "",
            "measure": False,
            "sent": True,
            "token": self.token,
        } | ask
        call = b""
        if hello["sent"]:
            call = wire.call_frame("fc-1", method, pack_input(args, {}))
        self.sock.sendall(pack_frame(hello) + call)

    async def told(self) -> tuple[Header, bytes]:
        header, body, _fds = await asyncio.to_thread(FrameSocket(self.sock).receive)
        return header, body

    async def answer(self) -> wire.ReplyFrame | None:
        try:
            return await asyncio.to_thread(wire.receive_reply, self.sock)
        except ConnectionResetError:  # closed with what was sent
            return None

    def to_its_end(self) -> None:
        """Read until it is closed, whatever was said."""
        with contextlib.suppress(ConnectionResetError):
            while self.sock.recv(1 << 16):
                continue

    async def value(self) -> Any:
        reply = await self.answer()
        assert reply is not None
        value = unpack(reply.data, reply.take_fd())
        assert reply.status == wire.OK, ExceptionRecord(*value).traceback
        return value

    async def fate(self, token: str = "") -> Header:
        def ask() -> Header:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(self.path)
                frames = FrameSocket(sock)
                frames.send({"fate": ID, "token": token or self.token})
                return frames.receive()[0]

        return await asyncio.to_thread(ask)


@asynccontextmanager
async def held_start(
    h: Harness, home: Path, *args: Any, code: type = Held, **options: Any
) -> AsyncIterator[tuple[str, Asking, Gate]]:
    """A function, a client that asked for its first runner, and the gate that this waits at."""
    with Gate(home) as gate:
        held = home / "held"
        worker = h.add(code, env={"HELD": str(held), "GATE": gate.path}, **options)
        asking = Asking(h, worker, "who", *args)
        await h.uplink.until(held.exists)
        yield worker, asking, gate


async def with_template(h: Harness, spares: int, **options: Any) -> str:
    """A function without a runner, whose template stays as it is, with so many spares."""
    options["spare_containers"] = spares
    model = h.add(Model, enable_memory_snapshot=True, **options)
    for strategy in ("restore", "fork"):
        assert (await h.prepare(model, strategy)).ok
    template = h.revision(model).template
    await h.uplink.until(lambda: len(template.spares.waiting) == spares)
    return model
