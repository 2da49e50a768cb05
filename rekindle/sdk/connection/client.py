"""The client: one gRPC channel to a controller, kept up through restarts of the controller.

Every request can be sent again (ids are made here), so a lost connection is tried again until a
deadline. Coroutines here run on the background thread. Knows nothing of pickles and user code.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio
from google.protobuf.message import Message

from rekindle import paths
from rekindle.exception import ConnectionError, VersionError
from rekindle.sdk.connection.background import Background, background
from rekindle.sdk.connection.blob_offload import ALWAYS_INLINE_BYTES, BlobOffload
from rekindle.sdk.connection.channel import open_channel
from rekindle.sdk.connection.patience import connect_timeout_s, why_ended
from rekindle.sdk.connection.seen import Arrived, Seen
from rekindle.sdk.connection.taken import TakenReports
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import rekindle_pb2_grpc
from rekindle.wire.errors import from_rpc_error, is_connection_loss
from rekindle.wire.version import PROTOCOL, __version__

M = TypeVar("M", bound=Message)

#: Channels that a forked child inherited: to close one would wait for threads that are not there.
_of_parent: list[Any] = []


class Client:
    """A connection to the controller of one instance directory."""

    def __init__(self, instance: Path) -> None:
        self.instance = instance
        self._target = f"unix:{paths.controller_socket(instance)}"
        self._patience_s = connect_timeout_s()
        self._owner: Background | None = None
        self._channel: Any = None
        self._stub_now: Any = None
        self._metadata: tuple[tuple[str, str], ...] = ()
        self._offload: BlobOffload | None = None
        #: What the agent of this machine is asked with for a runner, by function id.
        self.node_tokens: dict[str, str] = {}
        self._taken = TakenReports(self._report_taken)
        #: Whether the instance can come back; False as soon as no one is there to restart it.
        self.alive: Callable[[], bool] = lambda: True
        #: Why it has ended, where somebody has said it.
        self.why_ended: Callable[[], str] = lambda: ""

    # ---- the channel ---------------------------------------------------------------------------

    def _stub(self) -> Any:
        """The stub; another one where this process is a forked child that has none yet."""
        owner = background()
        if self._owner is not owner:
            if self._stub_now is not None:
                _of_parent.append((self._channel, self._stub_now))
            if owner.inherited:
                from rekindle.sdk.connection.relay import RelayStub

                self._channel, self._stub_now = None, RelayStub(self._target)
            else:
                self._channel = open_channel(self._target)
                self._stub_now = rekindle_pb2_grpc.ControllerStub(self._channel)  # type: ignore[no-untyped-call]
            self._metadata = (("authorization", f"Bearer {self._token()}"),)
            self._owner = owner
            owner.at_close(self.close)
        return self._stub_now

    def _token(self) -> str:
        file = paths.token_file(self.instance)
        try:
            return file.read_text().strip()
        except OSError as error:
            raise ConnectionError(
                f"no rekindle instance at {self.instance}: its token cannot be read "
                f"({error.strerror}). Start one with `rekindle up`, or use `rekindle run`"
            ) from None

    async def close(self) -> None:
        """Give the channel back; a later call opens another."""
        if self._channel is not None and self.alive():
            await self._taken.flush()
        channel, self._channel, self._owner = self._channel, None, None
        if channel is not None:
            await channel.close(None)

    async def request(
        self, method: str, request: Message, _reply: type[M], patience_s: float | None = None
    ) -> M:
        """Make a request of the contract, through lost connections; its reply."""
        patience = _Patience(self._patience_s if patience_s is None else patience_s, self)
        while True:
            try:
                reply: M = await getattr(self._stub(), method)(request, metadata=self._metadata)
                return reply
            except grpc.aio.AioRpcError as error:
                if not is_connection_loss(error):
                    raise from_rpc_error(error) from None
                await patience.wait()

    async def _stream(self, method: str, request: Any) -> AsyncIterator[Any]:
        """One attempt; raises what the server means, or _LostError for a broken connection."""
        call = getattr(self._stub(), method)(request, metadata=self._metadata)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            if is_connection_loss(error):
                raise _LostError from None
            raise from_rpc_error(error) from None
        finally:
            call.cancel()

    # ---- requests ------------------------------------------------------------------------------

    async def hello(self, patience_s: float | None = None) -> pb.HelloReply:
        """Check that both sides understand each other; raises VersionError."""
        request = pb.HelloRequest(protocol=PROTOCOL, version=__version__)
        reply = await self.request("Hello", request, pb.HelloReply, patience_s)
        if reply.protocol != PROTOCOL:
            raise VersionError(
                f"the controller at {self.instance} speaks protocol {reply.protocol} "
                f"(rekindle {reply.version}), this program {PROTOCOL} (rekindle {__version__}): "
                f"restart it with `rekindle down` and `rekindle up`"
            )
        self._offload = BlobOffload(reply.blob_url, reply.blob_threshold_bytes)
        return reply

    async def _open_offload(self) -> BlobOffload:
        if self._offload is None:
            await self.hello()
        assert self._offload is not None
        return self._offload

    async def put_large(self, call_id: str, index: int, payload: bytes) -> str:
        """Put a payload into the blob store; its key, or "" where it is to travel inline."""
        if len(payload) > ALWAYS_INLINE_BYTES:
            offload = await self._open_offload()
            if offload.takes(len(payload)):
                return await offload.put(call_id, index, payload)
        return ""

    async def blob(self, key: str) -> bytes:
        """What is in the store under a key of a result. Raises InternalFailure, ServiceError."""
        return await (await self._open_offload()).get(key)

    async def register(self, request: pb.RegisterAppRequest) -> dict[str, str]:
        """Make an app and its functions known; function ids by name."""
        reply = await self.request("RegisterApp", request, pb.RegisterAppReply)
        for handle in reply.functions:
            self.node_tokens[handle.function_id] = handle.node_token
        return {handle.name: handle.function_id for handle in reply.functions}

    async def hold(self, app_id: str) -> None:
        """Keep an ephemeral app alive until cancelled, through lost connections."""
        patience = _Patience(self._patience_s, self)
        while True:
            try:
                async for _event in self._stream("HoldApp", pb.HoldAppRequest(app_id=app_id)):
                    pass
                return  # the controller closed the app
            except _LostError:
                await patience.wait()

    async def close_app(self, app_id: str) -> None:
        """End an ephemeral app: its queued inputs are cancelled, its runners stopped."""
        await self._taken.flush()
        await self.request("CloseApp", pb.CloseAppRequest(app_id=app_id), pb.CloseAppReply)

    async def lookup(self, app_id: str, name: str) -> str:
        """The id of a function of an app; raises NotFoundError."""
        request = pb.LookupRequest(app_id=app_id, name=name)
        handle = await self.request("Lookup", request, pb.FunctionHandle)
        self.node_tokens[handle.function_id] = handle.node_token
        return handle.function_id

    async def find(self, app: str, name: str, version: int) -> pb.FunctionHandle:
        """A function of a deployed app by its name; raises NotFoundError, ExecutionError."""
        request = pb.LookupRequest(app=app, name=name, version=version)
        handle = await self.request("Lookup", request, pb.FunctionHandle)
        self.node_tokens[handle.function_id] = handle.node_token
        return handle

    async def invoke(self, request: pb.SubmitRequest) -> pb.Result:
        """Submit one input and wait for its result, with its data."""
        await self._put_large(request)
        result = await self.request("Invoke", request, pb.Result)
        if result.blob:
            result.data = await self.blob(result.blob)
        blobs = [result.blob] if result.blob else []
        function_id = result.function_id or request.function_id  # there may be a newer version
        self.taken(request.call_id, function_id, blobs=blobs, whole=True)
        return result

    def taken(
        self,
        call_id: str,
        function_id: str,
        indexes: Iterable[int] = (),
        blobs: Iterable[str] = (),
        *,
        whole: bool = False,
    ) -> None:
        """Results of a call have come to their only reader; from any thread."""
        loop = background().loop
        self._taken.note(loop, call_id, function_id, indexes, blobs, whole=whole)

    async def _report_taken(self, request: pb.TakenRequest, patience_s: float) -> None:
        await self.request("Taken", request, pb.TakenReply, patience_s)

    async def submit(self, request: pb.SubmitRequest, *, offloaded: bool = False) -> None:
        """Put inputs on the queue; they are durable when this returns.

        ``offloaded``: what is large in it is in the blob store already.
        """
        if not offloaded:
            await self._put_large(request)
        await self.request("Submit", request, pb.SubmitReply)

    async def _put_large(self, request: pb.SubmitRequest) -> None:
        for one in request.inputs:
            if key := await self.put_large(request.call_id, one.index, one.payload):
                one.blob = key
                one.ClearField("payload")

    async def results(
        self, call_id: str, seen: Seen, *, end_index: int = 0, stored: bool = False
    ) -> AsyncGenerator[tuple[list[Arrived], int], None]:
        """Results of a call as they complete, some at a time, through lost connections.

        With them comes the number of the last line that was logged before them.

        Those below ``end_index`` (0: all) that are not in ``seen``, to which the caller adds what
        it takes: after a lost connection one can come again. ``stored``: those alone that are
        there now.
        """
        patience = _Patience(self._patience_s, self)
        parse = pb.Result.FromString
        while True:
            start, have = seen.to_request()
            request = pb.ResultsRequest(
                call_id=call_id, from_index=start, have=have, end_index=end_index, stored=stored
            )
            try:
                async for batch in self._stream("Results", request):
                    arrived, log_seq = [], 0
                    for raw in batch.results:
                        result = parse(raw)
                        arrived.append((result.index, raw))
                        log_seq = max(log_seq, result.log_seq)
                    if arrived:
                        yield arrived, log_seq
                return
            except _LostError:
                await patience.wait()

    async def get_call(self, call_id: str) -> pb.CallInfo:
        """What is known of a call."""
        return await self.request("GetCall", pb.GetCallRequest(call_id=call_id), pb.CallInfo)

    async def cancel_call(
        self,
        call_id: str,
        *,
        terminate_containers: bool = False,
        patience_s: float | None = None,
    ) -> pb.CancelCallReply:
        """Cancel what is not done of a call; how many inputs that was."""
        request = pb.CancelCallRequest(call_id=call_id, terminate_containers=terminate_containers)
        return await self.request("CancelCall", request, pb.CancelCallReply, patience_s)

    async def logs(
        self, request: pb.LogsRequest, on_lost: Callable[[], None] | None = None
    ) -> AsyncIterator[pb.LogLine]:
        """Log lines, each once and in order, through lost connections.

        ``on_lost`` is called when one is lost. ``request`` is brought up to date on the way.
        """
        patience = _Patience(self._patience_s, self)
        while True:
            try:
                async for line in self._stream("Logs", request):
                    if request.app:  # it is this app from now on, whatever else may get its name
                        request.app, request.app_id = "", line.app_id
                    request.after_seq, request.tail = line.seq, 0
                    yield line
                return
            except _LostError:
                if on_lost is not None:
                    on_lost()
                await patience.wait()

    async def lease(
        self,
        function_id: str,
        params: bytes,
        depth: int = 0,
        strategy: str = "",
        *,
        measure: bool = False,
        patient: bool = False,
        pinned: bool = False,
    ) -> pb.LeaseReply:
        """Ask for a runner for direct calls; once, since all works without, unless ``patient``."""
        request = pb.LeaseRequest(
            function_id=function_id,
            params=params,
            depth=depth,
            strategy=strategy,
            measure=measure,
            patient=patient,
        )
        request.pinned = pinned
        patience_s = None if patient else 0.0
        return await self.request("Lease", request, pb.LeaseReply, patience_s=patience_s)


class _LostError(Exception):
    """The connection broke while a stream was read."""


class _Patience:
    """Waits between attempts; gives up when a controller was away for too long at a stretch."""

    #: An attempt that lasted longer than this had a controller; the count starts again.
    _CONTACT_S = 2.0

    def __init__(self, total_s: float, client: Client) -> None:
        self._total_s = total_s
        self._client = client
        self._away_since: float | None = None
        self._last = 0.0
        self._delay_s = 0.02

    async def wait(self) -> None:
        """Sleep before the next attempt.

        Raises ConnectionError when the time is over, or when no one restarts the controller.
        """
        instance = self._client.instance
        over = why_ended(instance)
        if over or not self._client.alive():
            killed = "the process that kept it up (its supervisor) was killed"
            raise ConnectionError(
                f"the instance in {instance} has ended while it was in use: "
                f"{self._client.why_ended() or over or killed}"
            ) from None
        now = asyncio.get_running_loop().time()
        if self._away_since is None or now - self._last > self._CONTACT_S:
            self._away_since, self._delay_s = now, 0.02
        if now - self._away_since >= self._total_s:
            raise ConnectionError(
                f"no controller answers at {instance}, and none has for {self._total_s:g} s. See "
                f"`rekindle status` and {instance}/logs/controller.log; `rekindle up` starts one"
            ) from None
        await asyncio.sleep(min(self._delay_s, self._away_since + self._total_s - now))
        self._delay_s = min(self._delay_s * 2, 0.5)
        self._last = asyncio.get_running_loop().time()


_clients: dict[Path, Client] = {}


def client_for(instance: Path) -> Client:
    """The client of an instance directory; one for each in a process."""
    client = _clients.get(instance)
    if client is None:
        client = _clients.setdefault(instance, Client(instance))
    return client


def forget(instance: Path) -> None:
    """An instance has ended."""
    _clients.pop(instance, None)
