"""A controller that runs inputs in its own process: the gRPC side real, all behind it simple.

It keeps calls over ``restart``, as a real one does through Redis.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import io
import json
import os
import pickle
import shutil
import sys
import tempfile
import threading
import zipfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import grpc.aio

from rekindle.exception import AuthError, Error, NotFoundError
from rekindle.execution import context
from rekindle.execution.declared import contents, declared_at
from rekindle.wire import functionid, rekindle_pb2_grpc
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.blobs import new_key, open_store
from rekindle.wire.bundle import MANIFEST, Sent
from rekindle.wire.class_parameters import unpack
from rekindle.wire.errors import to_status
from rekindle.wire.exceptions import record_exception
from rekindle.wire.messages import spec_of
from rekindle.wire.phases import Phase, now_ns
from rekindle.wire.serialization import deserialize, serialize
from rekindle.wire.spec import FunctionSpec
from rekindle.wire.version import PROTOCOL, __version__

TOKEN = "the-token"


class _Call:
    def __init__(self, function_id: str) -> None:
        self.function_id = function_id
        self.cancelled = False
        self.killed = False
        self.inputs: dict[int, asyncio.Task[pb.Result]] = {}
        self.complete = False
        self.changed = asyncio.Event()


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """One for all controllers of the process: each takes descriptors, and gRPC's asyncio side trips
    over one that is closed."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


class FakeController(rekindle_pb2_grpc.ControllerServicer):
    """Serves in a thread of its own; ``directory`` is a whole instance directory."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="rk-fake-"))
        (self.directory / "token").write_text(TOKEN + "\n")
        self.protocol = PROTOCOL
        self.registered: list[pb.RegisterAppRequest] = []
        self.submitted: list[pb.SubmitRequest] = []
        self.closed: list[str] = []
        self.pools: list[pb.SetPoolRequest] = []
        self.held: set[str] = set()
        self.payloads: dict[str, tuple[str, FunctionSpec, bytes]] = {}
        self.max_running = 0
        self.before_run: Callable[[], None] | None = None
        self.edit: Callable[[pb.Result], None] | None = None
        #: What is kept of a result of a call that was submitted.
        self.stored: Callable[[pb.Result], bytes] = pb.Result.SerializeToString
        self.refuse: Callable[[pb.SubmitRequest], Error | None] | None = None
        self.batch = 64
        self.blob_url = ""
        self.blob_threshold_bytes = 0
        self.asked: list[pb.ResultsRequest] = []
        self.runners: list[pb.RunnerStats] = []
        self._running = 0
        self._services: dict[tuple[str, bytes], Any] = {}
        self._calls: dict[str, _Call] = {}
        self._logs: dict[str, list[pb.LogLine]] = {}
        self._log_news = asyncio.Condition()
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="fake-runner")
        self._loop = _loop()
        self._server: Any = None
        self.start()

    # ---- life ----------------------------------------------------------------------------------

    def _do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def start(self) -> None:
        async def begin() -> None:
            self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
            rekindle_pb2_grpc.add_ControllerServicer_to_server(self, self._server)
            self._server.add_insecure_port(f"unix:{self.directory}/controller.sock")
            await self._server.start()

        self._do(begin())

    def stop(self) -> None:
        self._do(self._server.stop(None))
        with suppress(FileNotFoundError):
            os.unlink(self.directory / "controller.sock")

    def close(self) -> None:
        self.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self, app_id: str, *texts: str, stream: str = "stdout", partial: bool = False) -> None:
        """Add log lines."""

        async def add() -> None:
            lines = self._logs.setdefault(app_id, [])
            for text in texts:
                number = len(lines) + 1
                lines.append(
                    pb.LogLine(seq=number, app_id=app_id, stream=stream, text=text, partial=partial)
                )
            async with self._log_news:
                self._log_news.notify_all()

        self._do(add())

    # ---- the service ---------------------------------------------------------------------------

    async def _authenticate(self, ctx: Any) -> None:
        given = dict(ctx.invocation_metadata()).get("authorization")
        if given != f"Bearer {TOKEN}":
            await self._abort(ctx, AuthError("wrong token"))

    async def _abort(self, ctx: Any, error: Error) -> None:
        await ctx.abort(*to_status(error))

    async def Hello(self, request: Any, ctx: Any) -> pb.HelloReply:
        await self._authenticate(ctx)
        return pb.HelloReply(
            protocol=self.protocol,
            version=__version__,
            agents=1,
            blob_url=self.blob_url,
            blob_threshold_bytes=self.blob_threshold_bytes,
        )

    async def RegisterApp(self, request: Any, ctx: Any) -> pb.RegisterAppReply:
        await self._authenticate(ctx)
        self.registered.append(request)
        handles = []
        for function in request.functions:
            spec = spec_of(function.spec)
            function_id = functionid.of(spec.revision(), request.app_id)
            self.payloads[function_id] = (request.app_id, spec, function.code)
            handles.append(pb.FunctionHandle(name=spec.name, function_id=function_id))
        return pb.RegisterAppReply(functions=handles)

    async def HoldApp(self, request: Any, ctx: Any) -> AsyncIterator[pb.HoldAppEvent]:
        self.held.add(request.app_id)
        try:
            async with self._log_news:
                await self._log_news.wait_for(lambda: request.app_id in self.closed)
            yield pb.HoldAppEvent(message="closed")
        finally:
            self.held.discard(request.app_id)

    async def CloseApp(self, request: Any, ctx: Any) -> pb.CloseAppReply:
        self.closed.append(request.app_id)
        async with self._log_news:
            self._log_news.notify_all()
        return pb.CloseAppReply()

    async def Lookup(self, request: Any, ctx: Any) -> pb.FunctionHandle:
        for function_id, (app_id, spec, _) in self.payloads.items():
            if (app_id, spec.name) == (request.app_id, request.name):
                return pb.FunctionHandle(name=spec.name, function_id=function_id)
        await self._abort(ctx, NotFoundError(f"no {request.name} in {request.app_id}"))
        raise AssertionError

    async def Invoke(self, request: Any, ctx: Any) -> pb.Result:
        await self._authenticate(ctx)
        await self._accept(request, ctx)
        return await asyncio.shield(self._calls[request.call_id].inputs[0])

    async def Submit(self, request: Any, ctx: Any) -> pb.SubmitReply:
        await self._authenticate(ctx)
        await self._accept(request, ctx)
        return pb.SubmitReply(accepted=len(request.inputs))

    async def _accept(self, request: Any, ctx: Any) -> None:
        if request.function_id not in self.payloads:
            await self._abort(ctx, NotFoundError(f"no function {request.function_id}"))
        if self.refuse is not None and (error := self.refuse(request)) is not None:
            await self._abort(ctx, error)
        self.submitted.append(request)
        call = self._calls.setdefault(request.call_id, _Call(request.function_id))
        for one in request.inputs:
            if one.index not in call.inputs:
                call.inputs[one.index] = asyncio.ensure_future(self._run(request, one))
        call.complete = call.complete or request.last
        call.changed.set()

    async def _call(self, call_id: str, ctx: Any) -> _Call:
        call = self._calls.get(call_id)
        if call is None:
            await self._abort(ctx, NotFoundError(f"no call {call_id}"))
            raise AssertionError
        return call

    async def Results(self, request: Any, ctx: Any) -> AsyncIterator[pb.ResultBatch]:
        call = await self._call(request.call_id, ctx)
        self.asked.append(request)
        given = set(request.have)
        end = request.end_index or (1 << 31)
        while True:
            call.changed.clear()
            open_ones = {
                i: task
                for i, task in sorted(call.inputs.items())
                if request.from_index <= i < end and i not in given
            }
            ready = [i for i, task in open_ones.items() if task.done()]
            for start in range(0, len(ready), self.batch):
                indexes = ready[start : start + self.batch]
                given.update(indexes)
                yield pb.ResultBatch(
                    results=[self.stored(call.inputs[i].result()) for i in indexes]
                )
            for index in ready:
                del open_ones[index]
            if request.stored:
                return
            if call.changed.is_set():
                continue
            whole = (
                all(i in call.inputs for i in range(request.from_index, end))
                if (request.end_index)
                else False
            )
            if (call.complete or whole) and not open_ones:
                return
            changed = asyncio.ensure_future(call.changed.wait())
            tasks = [changed, *open_ones.values()]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()

    async def GetCall(self, request: Any, ctx: Any) -> pb.CallInfo:
        call = await self._call(request.call_id, ctx)
        return pb.CallInfo(
            call_id=request.call_id,
            function_id=call.function_id,
            inputs=len(call.inputs),
            submitted=call.complete,
            done=sum(task.done() for task in call.inputs.values()),
            cancelled=call.cancelled,
        )

    async def Taken(self, request: Any, ctx: Any) -> pb.TakenReply:
        await self._authenticate(ctx)
        return pb.TakenReply()

    async def CancelCall(self, request: Any, ctx: Any) -> pb.CancelCallReply:
        call = await self._call(request.call_id, ctx)
        call.cancelled, call.killed = True, request.terminate_containers
        for task in call.inputs.values():
            task.cancel()  # those that run in a thread end there, and nobody takes their result
        call.changed.set()
        return pb.CancelCallReply()

    def cancelled(self, call_id: str) -> _Call | None:
        """The call, if it was cancelled."""
        call = self._calls.get(call_id)
        return call if call is not None and call.cancelled else None

    async def Prepare(self, request: Any, ctx: Any) -> pb.PrepareReply:
        if request.strategy == "restore":
            return pb.PrepareReply(ok=False, reason="there is no snapshot")
        return pb.PrepareReply(ok=True)

    async def SetPool(self, request: Any, ctx: Any) -> pb.SetPoolReply:
        self.pools.append(request)
        return pb.SetPoolReply()

    async def Logs(self, request: Any, ctx: Any) -> AsyncIterator[pb.LogLine]:
        after = request.after_seq
        while True:
            for line in self._logs.get(request.app_id, [])[after:]:
                after = line.seq
                yield line
            if request.app_id in self.closed or not request.follow:
                return
            async with self._log_news:
                if len(self._logs.get(request.app_id, [])) == after:
                    await self._log_news.wait()

    async def Status(self, request: Any, ctx: Any) -> pb.StatusReply:
        agent = pb.AgentStatus(
            agent_id="ag-1", host="h", connected=True, max_runners=8, in_flight=1, last_heard_s=0.2
        )
        agent.stats.runners.extend(self.runners)
        function = pb.FunctionStatus(name="f", function_id="fu-1", queued=2, in_flight=1)
        return pb.StatusReply(
            version="0.1.0",
            uptime_s=75,
            agents=[agent],
            apps=[pb.AppStatus(name="demo", functions=[function])],
            redis=pb.RedisStatus(up=True, redis_version="7"),
        )

    # ---- running inputs ------------------------------------------------------------------------

    async def _run(self, request: Any, one: Any) -> pb.Result:
        self._running += 1
        self.max_running = max(self.max_running, self._running)
        marks = [(Phase.QUEUE.value, now_ns())]
        try:
            result: pb.Result = await self._loop.run_in_executor(
                self._pool, self._execute, request, one, marks
            )
        except asyncio.CancelledError:
            return pb.Result(
                call_id=request.call_id,
                index=one.index,
                status=pb.CANCELLED,
                message="the call was cancelled",
            )
        finally:
            self._running -= 1
        app_id = self.payloads[request.function_id][0]
        result.log_seq = len(self._logs.get(app_id, []))
        if self.edit is not None:
            self.edit(result)
        return result

    def _execute(self, request: Any, one: Any, marks: list[tuple[str, int]]) -> pb.Result:
        result = pb.Result(
            call_id=request.call_id,
            index=one.index,
            strategy=request.strategy or "warm",
            runner_id="ru-1",
            function_id=request.function_id,
            submitted_ns=request.submitted_ns,
            deliveries=request.lost + 1,
        )
        if self.before_run is not None:
            self.before_run()
        token = context.current.set((f"{request.call_id}:{one.index}", request.call_id))
        try:
            function = self._function(request.function_id, request.params, one.method)
            payload = open_store(self.blob_url).get(one.blob) if one.blob else one.payload
            args, kwargs = deserialize(payload, "arguments")
            marks.append((Phase.LOAD_INPUT.value, now_ns()))
            value = function(*args, **kwargs)
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
            data = serialize(value, "the result")
            if 0 < self.blob_threshold_bytes < len(data):
                result.blob = new_key(request.call_id, one.index, data)
                open_store(self.blob_url).put(result.blob, data)
            else:
                result.data = data
            result.status = pb.SUCCESS
        except BaseException as error:  # noqa: BLE001
            record = record_exception(error, skip_frames_in=(__file__,))
            result.status = pb.FAILURE
            result.data = record.data
            result.error_type, result.message = record.type_name, record.message
            result.traceback = record.traceback
        finally:
            context.current.reset(token)
        marks.append((Phase.EXECUTE.value, now_ns()))
        result.marks.extend(pb.PhaseMark(phase=p, at_ns=at) for p, at in marks)
        return result

    def _module(self, name: str) -> ModuleType:
        """A module of the tests, or of the last program that registered an app."""
        if name in sys.modules:
            return sys.modules[name]
        with zipfile.ZipFile(io.BytesIO(self.registered[-1].source.data)) as bundle:
            place = Sent(*json.loads(bundle.read(MANIFEST))[name]).place
            module = ModuleType(name)
            exec(compile(bundle.read(place), place, "exec"), vars(module))
        return module

    def _function(self, function_id: str, params: bytes, method: str) -> Any:
        _, spec, code = self.payloads[function_id]
        payload = (
            contents(declared_at(self._module(spec.module), spec.qualname))
            if spec.module
            else pickle.loads(code)
        )
        if payload["kind"] == "function":
            return payload["callable"]
        key = (function_id, params)
        if key not in self._services:
            made = payload["cls"].__new__(payload["cls"])
            values = unpack(params)
            for name, value in values.items():
                setattr(made, name, value)
            for hook in (*payload["enter_snap"], *payload["enter_gpu"], *payload["enter"]):
                getattr(made, hook)()
            self._services[key] = made
        return getattr(self._services[key], payload["methods"][method])
