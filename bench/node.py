"""A node alone: inputs a second of agent and runners, without client, controller and Redis.

.venv/bin/python bench/node.py [--quick] [--json FILE] [--check] [--results DIR] [--profile FILE]

Plays the controller on a real gRPC stream: hands out no-ops in orders of so many inputs, confirms
results as they come. Prints, for each size of orders, inputs a second and the CPU time that agent,
runners and this script take for an input. ``--profile`` writes a cProfile of the agent.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cloudpickle
import grpc
import grpc.aio
import psutil
from rich.table import Table

from lab import script
from lab.rates import measured
from rekindle import paths
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import rekindle_pb2_grpc as rpc
from rekindle.wire.messages import spec_message
from rekindle.wire.phases import now_ns
from rekindle.wire.serialization import serialize
from rekindle.wire.spec import FunctionSpec
from rekindle.wire.version import PROTOCOL

RUNNERS = 2
#: Inputs in a round (a tenth where orders have one each); rounds of each size of orders.
INPUTS, QUICK_INPUTS = 20_000, 1_000
ROUNDS, QUICK_ROUNDS = 3, 1
#: Nothing here takes that long: it hangs, and the script ends.
_LIMIT_S, _END_S = 120.0, 30.0
#: Inputs in an order, and inputs that the agent may have at a time.
ORDERS = ((512, 1024), (64, 256), (1, 64))


def noop(value: int) -> int:
    """What is run."""
    return value


class Controller(rpc.AgentGatewayServicer):
    """As much of a controller as a node needs."""

    def __init__(self) -> None:
        self.joined = asyncio.Event()
        self.changed = asyncio.Event()
        self.done = self.messages = 0
        self.unconfirmed: dict[str, list[int]] = {}
        self._stream: Any = None

    async def Session(self, messages: AsyncIterator[pb.AgentMessage], context: Any) -> None:
        async for message in messages:
            kind = message.WhichOneof("kind")
            if kind == "hello":
                welcome = pb.Welcome(instance_id="in-bench", protocol=PROTOCOL)
                await context.write(pb.ControllerMessage(welcome=welcome))
                self._stream = context
                self.joined.set()
            elif kind == "done":
                self.done += len(message.done.indexes)
                self.messages += 1
                waiting = self.unconfirmed.setdefault(message.done.call_id, [])
                waiting.extend(message.done.indexes)
                self.changed.set()

    async def FetchFunction(
        self, request: pb.FetchFunctionRequest, _context: Any
    ) -> pb.FetchFunctionReply:
        spec = FunctionSpec(
            app_name="bench",
            name="noop",
            python=sys.executable,
            code_digest="bench",
            min_containers=RUNNERS,
            max_containers=RUNNERS,
        )
        code = cloudpickle.dumps({"kind": "function", "callable": noop}, protocol=5)
        function = pb.FunctionDef(spec=spec_message(spec), code=code)
        return pb.FetchFunctionReply(app_id="ap-bench", function=function)

    async def order(self, **order: Any) -> None:
        """Send one."""
        await self._stream.write(pb.ControllerMessage(**order))

    async def run(self, call_id: str, inputs: int, order: int, room: int) -> None:
        """Have so many inputs run, handed out as there is room."""
        self.done = self.messages = given = 0
        while self.done < inputs:
            self.changed.clear()  # before the looks: what changes meanwhile is looked at again
            while given < inputs and given - self.done < room:
                indexes = range(given, min(given + order, inputs))
                await self.order(assign=_assign(call_id, indexes))
                given = indexes.stop
            for call, confirmed in list(self.unconfirmed.items()):
                del self.unconfirmed[call]
                await self.order(ack=pb.AckDone(call_id=call, indexes=confirmed))
            if self.done < inputs:
                await asyncio.wait_for(self.changed.wait(), _LIMIT_S)


def _assign(call_id: str, indexes: range) -> pb.Assign:
    return pb.Assign(
        call_id=call_id,
        function_id="fu-bench",
        app_id="ap-bench",
        delivery=1,
        submitted_ns=now_ns(),
        inputs=[
            pb.Input(index=index, payload=serialize(((index,), {}), "an input"))
            for index in indexes
        ],
    )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure(quick: bool, profile: str | None) -> list[dict[str, Any]]:
    """A node of its own, and all rows."""
    with tempfile.TemporaryDirectory(prefix="rk-node-") as directory:
        instance = Path(directory)
        paths.token_file(instance).write_text("bench")
        server, controller = grpc.aio.server(), Controller()
        rpc.add_AgentGatewayServicer_to_server(controller, server)  # type: ignore[no-untyped-call]
        server.add_insecure_port(f"unix:{paths.controller_socket(instance)}")
        await server.start()
        profiled = ["-m", "cProfile", "-o", profile] if profile else []
        agent = await asyncio.create_subprocess_exec(
            *(sys.executable, *profiled, "-m", "rekindle.runtime.agent", "--dir", str(instance)),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            await asyncio.wait_for(controller.joined.wait(), _LIMIT_S)
            inputs, rounds = (QUICK_INPUTS, QUICK_ROUNDS) if quick else (INPUTS, ROUNDS)
            return await _rows(controller, psutil.Process(agent.pid), inputs, rounds)
        finally:
            agent.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(agent.wait(), _END_S)
            except TimeoutError:
                agent.kill()
            await server.stop(None)


async def _rows(
    controller: Controller, agent: psutil.Process, inputs: int, rounds: int
) -> list[dict[str, Any]]:
    await controller.order(open=pb.OpenFunction(function_id="fu-bench", app_id="ap-bench"))
    await controller.run("fc-first", 100, 1, 8)
    below = agent.children(recursive=True)
    runners = [one for one in below if "rekindle.runtime.runner.main" in one.cmdline()]

    def used() -> dict[str, float]:
        return {
            "agent_us": _cpu_s(agent),
            "runners_us": sum(map(_cpu_s, runners)),
            "script_us": time.process_time(),
        }

    rows = []
    for order, room in ORDERS:
        count = inputs if order > 1 else inputs // 10
        for number in range(rounds):
            work = controller.run(f"fc-{order}-{number}", count, order, room)
            rows.append({"order": order} | await measured(work, count, used))
    return rows


def main() -> int:
    """Measure and show."""
    options = script.options(
        "node",
        __doc__.splitlines()[0],
        add=lambda parser: parser.add_argument(
            "--profile", metavar="FILE", help="where to write a cProfile of the agent"
        ),
    )
    console = script.console()
    rows = asyncio.run(measure(options.quick, options.own.profile))
    shown = Table(title="a node alone; microseconds of CPU an input", title_justify="left")
    for title in ("order", "inputs/s", "agent", "runners", "script"):
        shown.add_column(title, justify="right")
    for row in rows:
        each = (f"{row[name]:.1f}" for name in ("agent_us", "runners_us", "script_us"))
        shown.add_row(str(row["order"]), f"{row['inputs_per_second']:,.0f}", *each)
    console.print(shown)
    write_json(options.json, {"machine": machines.describe(), "quick": options.quick, "rows": rows})
    console.print(f"[dim]figures: {options.json}[/]")
    return script.verdict(console, [], check=options.check)


if __name__ == "__main__":
    script.run(main)
