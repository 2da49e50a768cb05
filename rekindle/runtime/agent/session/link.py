"""The agent's session with the controller: kept up, resumed, nothing confirmed twice or lost."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from rekindle import paths
from rekindle.background_tasks import BackgroundTasks
from rekindle.exception import InvalidError, ServiceError, VersionError
from rekindle.guarded_loops import Guard
from rekindle.linux import inotify
from rekindle.runtime.agent.inputs.inflight import InFlight
from rekindle.runtime.agent.node import Node
from rekindle.runtime.agent.session.outbox import Outbox
from rekindle.runtime.agent.session.report import stats
from rekindle.runtime.agent.uplink import LostError
from rekindle.wire import errors
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import rekindle_pb2_grpc as rpc
from rekindle.wire.logs import kv
from rekindle.wire.version import PROTOCOL

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
_RECONNECT_FIRST_S, _RECONNECT_MAX_S = 0.05, 1.0
_MAX_MESSAGE_BYTES = 256 << 20
#: An agent that ends waits so long for the controller to have what it sent.
_FAREWELL_S = 5.0
#: What programs may ask of the controller.
_METHODS = pb.DESCRIPTOR.services_by_name["Controller"].methods_by_name


class Link:
    """The way to the controller; ``run`` keeps it up."""

    def __init__(self, instance_dir: Path, agent_id: str, max_runners: int) -> None:
        self.agent_id = agent_id
        self._max_runners = max_runners
        token = paths.token_file(instance_dir).read_text().strip()
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._socket = paths.controller_socket(instance_dir)
        self._channel = grpc.aio.insecure_channel(
            f"unix:{self._socket}",
            options=[
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )
        self._stub = rpc.AgentGatewayStub(self._channel)  # type: ignore[no-untyped-call]
        self._outbox = Outbox()
        #: Set once the controller has welcomed this agent.
        self.welcomed = asyncio.Event()
        self._leaving = ""
        self._gone = False
        #: What was reported last.
        self._stats: pb.NodeStats | None = None
        self._session_ended = asyncio.Event()

    # ---- the node's Uplink -----------------------------------------------------------------

    def send(self, message: pb.AgentMessage, *, more: bool = False, soon: bool = False) -> None:
        """Send now, a moment later together with more of a call, or after the next connection.

        Results are not kept for it here: the node has them until they are confirmed, and
        ``_resume`` sends them all.
        """
        self._outbox.put(message, more=more, soon=soon)

    def lines_wait(self) -> bool:
        """Whether the controller is there, and takes lines, but not as quickly as they come."""
        return self._outbox.lines_wait()

    def leave(self, reason: str) -> None:
        """As Uplink says; once the controller ends the stream, there is no other."""
        self._leaving = reason
        if self._outbox.open:  # else _resume says it
            self._outbox.put(_leaves(reason))

    async def fetch(self, function_id: str) -> pb.FetchFunctionReply:
        """Code and specification of a function. Raises ServiceError."""
        reply: pb.FetchFunctionReply = await self._ask("FetchFunction", function_id, "code")
        return reply

    async def fetch_secrets(self, function_id: str) -> dict[str, str]:
        """The variables of all its secrets, as they are now. Raises ServiceError."""
        reply: pb.FetchSecretsReply = await self._ask("FetchSecrets", function_id, "secrets")
        return dict(reply.values)

    async def pass_on(self, method: str, message: bytes, token: str) -> AsyncGenerator[bytes, None]:
        """See Uplink. Nothing is looked at on the way."""
        known = _METHODS.get(method)
        if known is None:
            raise InvalidError(f"there is no request {method!r}")
        channel: Any = self._channel
        kind = channel.unary_stream if known.server_streaming else channel.unary_unary
        metadata = (("authorization", f"Bearer {token}"),)
        call: Any = kind(f"/{known.containing_service.full_name}/{method}")(
            message, metadata=metadata
        )
        try:
            if known.server_streaming:
                async for reply in call:
                    yield reply
            else:
                yield await call
        except grpc.aio.AioRpcError as error:
            if errors.is_connection_loss(error):
                raise LostError from None
            raise errors.from_rpc_error(error) from None
        finally:
            call.cancel()

    async def _ask(self, method: str, function_id: str, what: str) -> Any:
        request = pb.FetchFunctionRequest(function_id=function_id)
        for attempt in range(50):
            try:
                return await getattr(self._stub, method)(
                    request, metadata=self._metadata, timeout=30, wait_for_ready=True
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or attempt == 49:
                    raise ServiceError(
                        f"the {what} of {function_id} could not be fetched: {error.details()}"
                    ) from error
                await asyncio.sleep(0.2)
        raise AssertionError("unreachable")

    # ---- the session -----------------------------------------------------------------------

    async def run(self, node: Node) -> None:
        """Connect, and connect again whenever the connection is lost; until cancelled.

        Raises VersionError when the controller refuses this agent for good.
        """
        await appears(self._socket)  # gRPC would look now and then, up to a second later
        delay = _RECONNECT_FIRST_S
        while True:
            try:
                await self._session(node)
                delay = _RECONNECT_FIRST_S
                if self._gone:
                    return
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                    raise VersionError(error.details() or "the controller refused") from error
                log.info("no controller", extra=kv(code=error.code().name))
            await asyncio.sleep(delay)
            delay = min(2 * delay, _RECONNECT_MAX_S)

    async def close(self, in_flight: InFlight) -> None:
        """Hang up, once the controller has all that was sent, and has stored the results."""
        if self._outbox.open:
            try:
                async with asyncio.timeout(_FAREWELL_S):
                    await in_flight.confirmed()
                    self._gone = True
                    self._outbox.put(_leaves(self._leaving, ended=True))
                    await self._session_ended.wait()
            except TimeoutError:
                log.warning("not confirmed", extra=kv(results=in_flight.unconfirmed))
        await self._channel.close(None)

    async def _session(self, node: Node) -> None:
        call = self._stub.Session(metadata=self._metadata, wait_for_ready=True)
        await call.write(pb.AgentMessage(hello=self._hello(node)))
        tasks = BackgroundTasks()
        try:
            while True:
                order = await call.read()
                if order is grpc.aio.EOF:  # type: ignore[attr-defined]
                    log.info("session ended")
                    # Raises what ended it, if it was an error.
                    await call.initial_metadata()
                    code = await call.code()
                    if code is grpc.StatusCode.FAILED_PRECONDITION:
                        raise VersionError(await call.details() or "the controller refused")
                    return
                if order.WhichOneof("kind") == "welcome":
                    # Before the results that wait for it.
                    node.welcomed(order.welcome)
                    self._resume(node)
                    tasks.spawn(self._send_forever(call))
                    tasks.spawn(self._beat_forever(node))
                    self.welcomed.set()
                    self._session_ended.clear()
                    log.info("welcomed", extra=kv(instance=order.welcome.instance_id))
                else:
                    _obey(node, order)
        finally:
            await tasks.cancel()
            self._outbox.disconnected()
            self._session_ended.set()
            call.cancel()

    def _hello(self, node: Node) -> pb.AgentHello:
        return pb.AgentHello(
            agent_id=self.agent_id,
            host=socket.gethostname(),
            protocol=PROTOCOL,
            max_runners=self._max_runners,
            in_flight=node.in_flight.hello(),
            pid=os.getpid(),
        )

    def _resume(self, node: Node) -> None:
        """After the hello: what was kept, then every result that was not confirmed."""
        self._outbox.connected()
        for done in node.in_flight.unconfirmed_results():
            self._outbox.put(pb.AgentMessage(done=done))
        node.history.report_again()
        if self._leaving:
            self._outbox.put(_leaves(self._leaving))

    async def _send_forever(
        self, call: grpc.aio.StreamStreamCall[pb.AgentMessage, pb.ControllerMessage]
    ) -> None:
        while True:
            message = await self._outbox.next()
            try:
                await call.write(message)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                # The reading side sees the same and ends the session.
                self._outbox.disconnected(message)
                return

    async def _beat_forever(self, node: Node) -> None:
        guard = Guard("report to the controller")
        while True:
            with guard.one_pass():
                self._stats = stats(node)
            if self._stats is not None:  # else the last: this agent is alive, whatever it can see
                beat = pb.Heartbeat(
                    stats=self._stats,
                    in_flight=node.in_flight.hello(),
                    lists_in_flight=True,
                )
                self._outbox.put(pb.AgentMessage(heartbeat=beat))
            await asyncio.sleep(HEARTBEAT_S)


def _leaves(reason: str, *, ended: bool = False) -> pb.AgentMessage:
    return pb.AgentMessage(leaves=pb.AgentLeaves(reason=reason, ended=ended))


def _obey(node: Node, order: pb.ControllerMessage) -> None:
    kind = order.WhichOneof("kind")
    handlers: dict[str, Callable[[Any], None]] = {
        "assign": node.receiver.assign,
        "ack": node.receiver.acknowledged,
        "cancel": node.receiver.cancel,
        "close_app": node.close_app,
        "open": node.open,
        "live": node.live,
        "retire": node.retire,
        "prepare": node.prepare,
        "tell_python": node.tell_python,
        "lease": node.lease,
        "plan": node.plan,
        "stop_runner": node.stopping.order,
    }
    if kind in handlers:
        handlers[kind](getattr(order, kind))
    else:
        log.warning("unknown order", extra=kv(kind=kind))


async def appears(path: Path) -> None:
    """Return once there is something at a path, or at once where that cannot be waited for."""
    try:
        fd = inotify.watch(path.parent)
    except OSError as error:
        log.warning("not waited for", extra=kv(path=path, reason=error))
        return
    loop, news = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, news.set)
    try:
        while not path.exists():
            news.clear()
            inotify.forget_events(fd)
            if not path.exists():
                await news.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
