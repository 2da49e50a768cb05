"""A controller and an agent that lend one runner, which misbehaves as a test tells it."""

from __future__ import annotations

import pickle
import socket
import threading
from collections.abc import Callable
from typing import Any

import rekindle
from rekindle.wire import direct_frames as wire
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.errors import to_status
from rekindle.wire.exceptions import record_exception
from rekindle.wire.frames import FrameError, FrameSocket
from rekindle.wire.granted import Granted
from rekindle.wire.phases import now_ns
from rekindle.wire.shared import Packed, pack, unpack
from tests.sdk.fake_controller import FakeController

app = rekindle.App("directly")


@app.function()
def add(a: Any, b: Any = 0) -> Any:
    return a + b


Serve = Callable[[socket.socket, wire.CallFrame], None]


class Lender(FakeController):
    """A controller and an agent with one runner, which answers calls with ``serve``."""

    def __init__(self) -> None:
        self.lease_requests = 0
        self.once = False
        self.strategies: list[str] = []
        self.refusal: str | Exception | None = None
        self.began: pb.RunnerBegan | None = None
        self.failure: pb.Result | None = None
        self.fate = {"fate": "lost", "message": "it was killed"}
        #: Its agent answers none of those that ask before all of them do.
        self.all_ask: threading.Barrier | None = None
        self.calls: list[str] = []
        self.ended = threading.Event()
        self.serve: Serve = answer
        self.connections: list[socket.socket] = []
        self.connected = threading.Event()
        super().__init__()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.directory / "direct.sock"))
        self._listener.listen()
        self._accepts = threading.Thread(target=self._accept_forever, daemon=True)
        self._accepts.start()

    async def Lease(self, request: Any, ctx: Any) -> pb.LeaseReply:
        self.lease_requests += 1
        self.strategies.append(request.strategy)
        if isinstance(self.refusal, Exception):
            await ctx.abort(*to_status(self.refusal))  # type: ignore[arg-type]
        return pb.LeaseReply(
            granted=self.refusal is None and self.failure is None,
            began=self.began,
            failure=self.failure,
            reason=str(self.refusal or ""),
            lease_id=f"le-{self.lease_requests}",
            token="token",
            socket=str(self.directory / "direct.sock"),
            runner_id="ru-direct",
            once=self.once,
        )

    def agent_ends(self) -> None:
        """No one listens there any more."""
        (self.directory / "direct.sock").unlink()
        self.refusal = "its agent is gone"

    def close(self) -> None:
        # To close it does not wake who waits in accept(), for which a descriptor is set aside.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepts.join()
        self._listener.close()
        for one in self.connections:
            one.close()
        super().close()

    def _accept_forever(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(sock)
            self.connected.set()
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        frames = FrameSocket(sock)
        try:
            hello, _body, _fds = frames.receive()
            assert hello["token"] == "token"
            if "fate" in hello:
                frames.send(self.fate)
                return
            if "ask" in hello:
                assert self.all_ask is not None
                self.all_ask.wait(60)
                frames.send(Granted(hello["lease"], "", "token", "ru-direct", 0, False).header())
            else:
                sock.sendall(wire.WELCOME)
            while (call := wire.receive_call(sock)) is not None:
                self.calls.append(call.call_id)
                self.serve(sock, call)
        except (OSError, FrameError):
            return
        finally:
            sock.close()
            self.ended.set()


def answer(sock: socket.socket, call: wire.CallFrame) -> None:
    """As a runner does."""
    received_ns = now_ns()
    args, kwargs = unpack(call.data, call.fd)
    status = wire.OK
    try:
        packed = pack(add.local(*args, **kwargs))
    except Exception as error:  # noqa: BLE001 (a runner sends whatever it is)
        record = record_exception(error)
        fields = (record.data, record.type_name, record.message, record.traceback)
        status, packed = wire.FAILED, Packed(pickle.dumps(fields))
    wire.send_reply(sock, status, (received_ns, now_ns(), now_ns()), packed, printed=False)
    packed.close()


def hang_up(sock: socket.socket, _call: wire.CallFrame) -> None:
    """As when the runner dies."""
    sock.shutdown(socket.SHUT_RDWR)
