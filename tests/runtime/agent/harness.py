"""A real node without a controller: real spawner, templates, runners, CRIU; a recording uplink."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import psutil

from rekindle.runtime.agent.node import Node
from rekindle.runtime.agent.session.report import stats
from rekindle.runtime.agent.settings import AgentSettings
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.uplink import LostError, Uplink
from rekindle.wire import functionid
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import spec_message
from rekindle.wire.phases import durations_ms, now_ns
from rekindle.wire.pickling import dumps
from rekindle.wire.serialization import deserialize, serialize
from rekindle.wire.spec import FunctionSpec
from tests.processes import descendants

#: Generous: a hang is a failure, a slow machine is not.
PATIENCE_S = 90.0


@dataclass
class Outcome:
    """What a caller would have got."""

    result: pb.Result
    done_ns: int

    @property
    def value(self) -> Any:
        assert self.result.status == pb.SUCCESS, (
            f"{pb.ResultStatus.Name(self.result.status)}: {self.result.error_type}: "
            f"{self.result.message}\n{self.result.traceback}"
        )
        return deserialize(self.result.data, "a result")

    @property
    def strategy(self) -> str:
        return self.result.strategy

    @property
    def phases(self) -> dict[str, float]:
        marks = [(mark.phase, mark.at_ns) for mark in self.result.marks]
        return durations_ms(self.result.submitted_ns, marks)


@dataclass
class RecordingUplink:
    """Plays the controller: hands out functions, keeps what the node says."""

    functions: dict[str, pb.FetchFunctionReply] = field(default_factory=dict)
    results: dict[tuple[str, int], Outcome] = field(default_factory=dict)
    returned: list[pb.InputsReturned] = field(default_factory=list)
    lines: list[pb.LogLine] = field(default_factory=list)
    prepared: dict[str, pb.PrepareDone] = field(default_factory=dict)
    leases: dict[str, pb.LeaseGranted] = field(default_factory=dict)
    closed_apps: list[str] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)
    pythons: dict[str, str] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    done_messages: int = 0
    left: str = ""
    #: Gets everything in its place, where a test has a controller.
    link: Uplink | None = None

    def send(self, message: pb.AgentMessage, *, more: bool = False, soon: bool = False) -> None:
        if self.link is not None:
            self.link.send(message, more=more, soon=soon)
            return
        kind = message.WhichOneof("kind")
        if kind == "done":
            self.done_messages += 1
            for raw in message.done.results:
                result = pb.Result.FromString(raw)
                key = (result.call_id, result.index)
                assert key not in self.results, f"{key} has two results"
                self.results[key] = Outcome(result, now_ns())
        elif kind == "returned":
            self.returned.append(message.returned)
        elif kind == "log":
            self.lines.append(message.log)
        elif kind == "prepared":
            self.prepared[message.prepared.request_id] = message.prepared
        elif kind == "lease":
            self.leases[message.lease.request_id] = message.lease
        elif kind == "app_closed":
            self.closed_apps.append(message.app_closed.app_id)
        elif kind == "retired":
            self.retired.append(message.retired.request_id)
        elif kind == "python_told":
            self.pythons[message.python_told.request_id] = message.python_told.note
        self.changed.set()

    def lines_wait(self) -> bool:
        return False

    def leave(self, reason: str) -> None:
        self.left = reason

    async def fetch(self, function_id: str) -> pb.FetchFunctionReply:
        if self.link is not None:
            return await self.link.fetch(function_id)
        return self.functions[function_id]

    async def pass_on(self, method: str, message: bytes, token: str) -> AsyncGenerator[bytes, None]:
        if self.link is None:
            raise LostError
        async for reply in self.link.pass_on(method, message, token):
            yield reply

    async def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until ``condition`` gives something true, and return that."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := condition()):
                self.changed.clear()
                try:
                    # Some conditions look at processes, which tell nobody when they end.
                    await asyncio.wait_for(self.changed.wait(), 0.05)
                except TimeoutError:
                    continue
            return found

    def printed(self, stream: str = "stdout", call_id: str = "") -> list[str]:
        """The lines that came, of one call or of all: a message may have several."""
        of_stream = [one for one in self.lines if one.stream == stream]
        mine = [one.text for one in of_stream if not call_id or one.call_id == call_id]
        return [line for text in mine for line in text.split("\n")]


@dataclass
class Harness:
    """A running node and the means to call functions on it."""

    node: Node
    uplink: RecordingUplink
    home: Path
    _calls: int = 0

    def add(
        self,
        code: type | Callable[..., Any],
        *,
        app_id: str = "ap-test",
        secrets: dict[str, str] | None = None,
        digest: str = "",
        **spec: Any,
    ) -> str:
        """Register a function or class (hooks: ``load``, ``on_gpu``, ``enter``, ``exit_``)."""
        # Also where methods come from that it has of another test's class: no runner can import it.
        for one in (code, *vars(code).values()):
            module = getattr(one, "__module__", None) or ""
            if module == code.__module__ or module.startswith("tests."):
                cloudpickle.register_pickle_by_value(sys.modules[module])
        payload: dict[str, Any]
        if isinstance(code, type):
            public = [name for name in vars(code) if not name.startswith("_")]
            hooks = {"load", "on_gpu", "enter", "exit_"}
            payload = {
                "kind": "cls",
                "cls": code,
                "enter_snap": ["load"] if "load" in public else [],
                "enter_gpu": ["on_gpu"] if "on_gpu" in public else [],
                "enter": ["enter"] if "enter" in public else [],
                "exit": ["exit_"] if "exit_" in public else [],
                "methods": {name: name for name in public if name not in hooks},
                "parameters": {},
            }
        else:
            payload = {"kind": "function", "callable": code}
        function_spec = FunctionSpec(
            app_name="test",
            name=code.__name__,
            kind=payload["kind"],
            code_digest=digest or uuid.uuid4().hex,
            **{
                "cwd": os.getcwd(),
                "python": sys.executable,
                "python_version": ".".join(map(str, sys.version_info[:3])),
                **spec,
            },
        )
        function_id = functionid.of(uuid.uuid4().hex[:16], app_id)
        self.uplink.functions[function_id] = pb.FetchFunctionReply(
            app_id=app_id,
            function=pb.FunctionDef(
                spec=spec_message(function_spec),
                code=dumps(payload),
                secrets=secrets or {},
            ),
        )
        return function_id

    def submit(
        self,
        function_id: str,
        method: str = "",
        *args: Any,
        strategy: str = "",
        depth: int = 0,
        params: bytes = b"",
        blob: str = "",
        **kwargs: Any,
    ) -> tuple[str, int]:
        """Give the node an input, of a call that was made inside of ``depth`` others; returns what
        names its result. ``blob``: its arguments lie in the blob store."""
        self._calls += 1
        call_id = f"fc-{self._calls}"
        self.node.receiver.assign(
            pb.Assign(
                call_id=call_id,
                inputs=[
                    pb.Input(
                        index=0,
                        method=method,
                        payload=b"" if blob else serialize((args, kwargs), "a test's input"),
                        blob=blob,
                    )
                ],
                function_id=function_id,
                params=params,
                strategy=strategy,
                submitted_ns=now_ns(),
                delivery=1,
                app_id="ap-test",
                depth=depth,
            )
        )
        return (call_id, 0)

    def submit_many(
        self, function_id: str, method: str, arguments: Iterable[tuple[Any, ...]], *, depth: int = 0
    ) -> list[tuple[str, int]]:
        """Give the node many inputs in one order, as ``submit`` does; returns what names their
        results."""
        self._calls += 1
        call_id = f"fc-{self._calls}"
        inputs = [
            pb.Input(index=i, method=method, payload=serialize((args, {}), "a test's input"))
            for i, args in enumerate(arguments)
        ]
        self.node.receiver.assign(
            pb.Assign(
                call_id=call_id,
                inputs=inputs,
                function_id=function_id,
                submitted_ns=now_ns(),
                delivery=1,
                app_id="ap-test",
                depth=depth,
            )
        )
        return [(call_id, one.index) for one in inputs]

    async def results(self, keys: list[tuple[str, int]]) -> list[Outcome]:
        """Wait for all of these results."""
        await self.uplink.until(lambda: all(key in self.uplink.results for key in keys))
        stored = pb.AckDone(call_id=keys[0][0], indexes=[key[1] for key in keys])
        self.node.receiver.acknowledged(stored)
        return [self.uplink.results[key] for key in keys]

    def cancel(self, keys: list[tuple[str, int]], *, kill: bool = False) -> None:
        """What the controller sends for a cancelled call."""
        indexes = [key[1] for key in keys]
        self.node.receiver.cancel(pb.CancelInputs(call_id=keys[0][0], indexes=indexes, kill=kill))

    async def result(self, key: tuple[str, int]) -> Outcome:
        """Wait for a result."""
        outcome: Outcome = await self.uplink.until(lambda: self.uplink.results.get(key))
        self.node.receiver.acknowledged(pb.AckDone(call_id=key[0], indexes=[key[1]]))
        return outcome

    async def call(
        self, function_id: str, method: str = "", *args: Any, strategy: str = "", **kwargs: Any
    ) -> Outcome:
        """Submit and wait."""
        return await self.result(
            self.submit(function_id, method, *args, strategy=strategy, **kwargs)
        )

    async def prepare(
        self, function_id: str, strategy: str, *, ends: bool = False
    ) -> pb.PrepareDone:
        """Ask for a strategy to be made possible."""
        self._calls += 1
        request_id = f"pr-{self._calls}"
        self.node.prepare(
            pb.PrepareOnAgent(
                request_id=request_id,
                function_id=function_id,
                strategy=strategy,
                timeout_s=PATIENCE_S,
                ends=ends,
            )
        )
        done: pb.PrepareDone = await self.uplink.until(lambda: self.uplink.prepared.get(request_id))
        return done

    def runners(self, function_id: str) -> list[Any]:
        """The runners of a function's pools."""
        return [
            runner
            for (wanted, _params), pool in self.node.inventory.pools.items()
            if wanted == function_id
            for runner in pool.runners.values()
        ]

    def stats(self, function_id: str) -> pb.PoolStats:
        """What the heartbeat says of a function's pool."""
        pools = stats(self.node).pools
        return next((p for p in pools if p.function_id == function_id), pb.PoolStats())

    def revision(self, function_id: str) -> Any:
        """The revision behind a function without parameters."""
        return self.node.inventory.pools[(function_id, "")].revision


class Gate:
    """Holds inputs up until it is opened: a FIFO, whose path they open for reading."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / f"gate-{uuid.uuid4().hex}")
        os.mkfifo(self.path)
        self._fd = -1

    def open(self) -> None:
        """Let go who waits; who comes later does not wait."""
        self._fd = os.open(self.path, os.O_RDWR)

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


@asynccontextmanager
async def running_node(home: Path, **settings: Any) -> AsyncIterator[Harness]:
    """A node under ``home``; when it ends, nothing of it may be left."""
    instance = home / "instance"
    instance.mkdir(parents=True, exist_ok=True)
    context = await NodeContext.open(AgentSettings(instance, **settings))
    uplink = RecordingUplink()
    node = Node(context, uplink)
    node.listen()
    tending = asyncio.gather(node.reconcile_forever(), node.keep_spares_forever())
    try:
        yield Harness(node, uplink, home)
    finally:
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)
        await node.close()
        await context.close()


def run(home: Path, scenario: Callable[[Harness], Awaitable[None]], **settings: Any) -> None:
    """Run a scenario against a fresh node, and check that it left nothing behind."""

    async def main() -> None:
        async with running_node(home, **settings) as harness:
            await scenario(harness)

    # Other tests' fixtures may keep processes of their own.
    before = descendants()
    asyncio.run(main())
    _gone, left = psutil.wait_procs(descendants() - before, timeout=60)
    assert not left, f"processes left: {left}"
    assert not _mounts_below(home), "mounts left"
    assert not list((home / "instance").iterdir()), "files left in the instance directory"


def _mounts_below(home: Path) -> list[str]:
    """Those of this test: others run beside it, and make and end their own."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [point for line in lines if Path(point := line.split()[4]).is_relative_to(home)]
