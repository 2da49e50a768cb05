"""The client: the requests of the contract, over one connection that is kept up.

Coroutines here run on the background thread. Knows nothing of pickles and user code.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rekindle import lazily
from rekindle.exception import ServiceError, VersionError
from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.connection import Connection
from rekindle.wire.version import PROTOCOL, __version__

if TYPE_CHECKING:
    import asyncio

    from rekindle.sdk.connection.blob_offload import BlobOffload
    from rekindle.sdk.connection.seen import Arrived, Seen
    from rekindle.sdk.connection.taken import TakenReports
    from rekindle.sdk.connection.transport import Transport
    from rekindle.wire import messages
    from rekindle.wire import rekindle_pb2 as pb
else:
    asyncio = lazily.module("asyncio")
    messages = lazily.module("rekindle.wire.messages")
    pb = lazily.module("rekindle.wire.rekindle_pb2")

#: No one waits longer for a report to be answered: the controller waits while Redis takes nothing.
_REPORT_S = 5.0
#: So many functions are known to the agent of this machine; of another the controller is asked.
_MOST_TOKENS = 4096


class Client(Connection):
    """What programs ask the controller of one instance directory."""

    def __init__(self, instance: Path) -> None:
        super().__init__(instance)
        #: Where what is large goes, and from which size on; None until the controller has said it.
        self._blobs_at: tuple[str, int] | None = None
        #: And by which transport.
        self._offload: tuple[Transport, BlobOffload] | None = None
        #: What the agent of this machine is asked with for a runner, by function id.
        self.node_tokens: dict[str, str] = {}
        self._taken_now: TakenReports | None = None

    async def hello(self, patience_s: float | None = None) -> pb.HelloReply:
        """Check that both sides understand each other; raises VersionError."""
        request = pb.HelloRequest(protocol=PROTOCOL, version=__version__)
        reply = await self.request("Hello", request, pb.HelloReply, patience_s)
        self.greeted(reply.protocol, reply.version, reply.blob_url, reply.blob_threshold_bytes)
        return reply

    def greeted(self, protocol: int, version: str, blob_url: str, threshold_bytes: int) -> None:
        """What the controller answers to ``Hello``. Raises VersionError."""
        if protocol != PROTOCOL:
            raise VersionError(
                f"the controller at {self.instance} speaks protocol {protocol} "
                f"(rekindle {version}), this program {PROTOCOL} (rekindle {__version__}): "
                f"restart it with `rekindle down` and `rekindle up`"
            )
        self._blobs_at, self._offload = (blob_url, threshold_bytes), None

    async def what_it_waits_for(self) -> str:
        """See Connection; one that is being started again is told by other means."""
        return (await self.hello(0.0)).redis_waits

    async def _open_offload(self) -> BlobOffload:
        if self._blobs_at is None:
            await self.hello()
        assert self._blobs_at is not None
        transport = self.transport()
        if self._offload is None or self._offload[0] is not transport:
            self._offload = transport, transport.offload(*self._blobs_at)
        return self._offload[1]

    async def put_large(self, call_id: str, index: int, payload: bytes) -> str:
        """Put a payload into the blob store; its key, or "" where it is to travel inline."""
        from rekindle.sdk.connection.blob_offload import ALWAYS_INLINE_BYTES

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
        return self.registered(
            (handle.name, handle.function_id, handle.node_token) for handle in reply.functions
        )

    def registered(self, handles: Iterable[tuple[str, str, str]]) -> dict[str, str]:
        """Functions were made known: name, id and node token of each. Their ids by name."""
        ids = {}
        for name, function_id, node_token in handles:
            self.know(function_id, node_token)
            ids[name] = function_id
        return ids

    def know(self, function_id: str, node_token: str) -> None:
        """What the agent of this machine is asked with for a runner of a function."""
        self.node_tokens.pop(function_id, None)
        self.node_tokens[function_id] = node_token
        while len(self.node_tokens) > _MOST_TOKENS:
            self.node_tokens.pop(next(iter(self.node_tokens)), None)

    async def hold(self, app_id: str) -> None:
        """Keep an ephemeral app alive until cancelled, through lost connections.

        Returns when the controller has closed it.
        """
        request = pb.HoldAppRequest(app_id=app_id)
        async for _event in self.stream("HoldApp", lambda: request, pb.HoldAppEvent):
            pass

    async def close_app(self, app_id: str) -> None:
        """End an ephemeral app: its queued inputs are cancelled, its runners stopped."""
        await self._flush_taken()
        await self.request("CloseApp", pb.CloseAppRequest(app_id=app_id), pb.CloseAppReply)

    async def lookup(self, app_id: str, name: str) -> str:
        """The id of a function of an app; raises NotFoundError."""
        request = pb.LookupRequest(app_id=app_id, name=name)
        handle = await self.request("Lookup", request, pb.FunctionHandle)
        self.know(handle.function_id, handle.node_token)
        return handle.function_id

    async def find(self, app: str, name: str, version: int) -> pb.FunctionHandle:
        """A function of a deployed app by its name; raises NotFoundError, ExecutionError."""
        request = pb.LookupRequest(app=app, name=name, version=version)
        handle = await self.request("Lookup", request, pb.FunctionHandle)
        self.know(handle.function_id, handle.node_token)
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
        if self._taken_now is None or self._taken_now.loop is not loop:  # or it is the parent's
            from rekindle.sdk.connection.taken import TakenReports

            self._taken_now = TakenReports(loop, self._report_taken)
        self._taken_now.note(call_id, function_id, indexes, blobs, whole=whole)

    def report_taken(self) -> None:
        """Report what was taken and is not reported yet, and wait for that."""
        if self._taken_now:
            background().run(self._flush_taken())

    async def before_close(self) -> None:
        """Report what was taken."""
        await self._flush_taken()

    async def close(self) -> None:
        """See Connection; what could not be reported is let go."""
        await super().close()
        if self._taken_now is not None and self._taken_now.loop is background().loop:
            self._taken_now.end()

    async def _flush_taken(self) -> None:
        if self._taken_now and self._taken_now.loop is background().loop:
            await self._taken_now.flush()

    async def _report_taken(self, request: pb.TakenRequest, patience_s: float) -> None:
        try:
            async with asyncio.timeout(_REPORT_S):  # the controller has it, and ends it by itself
                await self.request("Taken", request, pb.TakenReply, patience_s)
        except TimeoutError:
            raise ServiceError(f"a report was not answered for {_REPORT_S:g} s") from None

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

        def request() -> pb.ResultsRequest:
            start, have = seen.to_request()
            return pb.ResultsRequest(
                call_id=call_id, from_index=start, have=have, end_index=end_index, stored=stored
            )

        batches = self.stream("Results", request, pb.ResultBatch)
        with self.slow.waiting():
            async with contextlib.aclosing(batches):
                async for batch in batches:
                    arrived, log_seq = [], 0
                    for raw in batch.results:
                        result = messages.read_result(raw, f"the call {call_id}")
                        arrived.append((result.index, raw))
                        log_seq = max(log_seq, result.log_seq)
                    if arrived:
                        yield arrived, log_seq

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
    ) -> AsyncGenerator[pb.LogLine, None]:
        """Log lines, each once and in order, through lost connections.

        ``on_lost`` is called when one is lost. ``request`` is brought up to date on the way.
        """
        lines = self.stream("Logs", lambda: request, pb.LogLine, on_lost)
        async with contextlib.aclosing(lines):
            async for line in lines:
                if request.app:  # it is this app from now on, whatever else may get its name
                    request.app, request.app_id = "", line.app_id
                request.after_seq, request.tail = line.seq, 0
                yield line

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
            pinned=pinned,
        )
        patience_s = None if patient else 0.0
        return await self.request("Lease", request, pb.LeaseReply, patience_s=patience_s)


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
