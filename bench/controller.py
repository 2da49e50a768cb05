"""What the controller and its Redis alone can do: inputs a second, with an agent that runs nothing.

.venv/bin/python bench/controller.py [--quick] [--json FILE] [--check] [--results DIR]

A real controller and a real Redis are pinned to one core; a client and an agent that runs nothing
share the others. Printed: inputs a second from the first submission to the last result, and the
processor time that the controller and Redis took for each input.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lab import script
from lab.rates import measured
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Client, Instance, new_id, running_instance, spec

CHUNK = 512
#: Inputs of the fan-out; calls of one input.
INPUTS, QUICK_INPUTS = 100_000, 5_000
SINGLE, QUICK_SINGLE = 2_000, 100
#: Before the measurement.
FIRST_INPUTS = 5_000


class InstantAgent(FakeAgent):
    """Answers every order in one message, without looking at what is in it."""

    async def _read(self, call: Any) -> None:
        while True:
            message = await call.read()
            if message is grpc.aio.EOF:
                return
            if message.WhichOneof("kind") == "assign":
                assign = message.assign
                indexes = [item.index for item in assign.inputs]
                # As a real agent's: each with its index, a small value and some marks.
                body = pb.Result(
                    call_id=assign.call_id,
                    status=pb.SUCCESS,
                    data=b"\x80\x05N.",
                    strategy="warm",
                    runner_id="ru-0000000000000000000000",
                    function_id=assign.function_id,
                    submitted_ns=assign.submitted_ns,
                    marks=[pb.PhaseMark(phase=name, at_ns=time.time_ns()) for name in "qle"],
                ).SerializeToString()
                results = [body + pb.Result(index=i).SerializeToString() for i in indexes]
                await self.send(
                    done=pb.Done(
                        call_id=assign.call_id,
                        function_id=assign.function_id,
                        app_id=assign.app_id,
                        indexes=indexes,
                        statuses=[pb.SUCCESS] * len(indexes),
                        results=results,
                        execute_ns=5_000 * len(indexes),
                    )
                )


def used(instance: Instance) -> dict[str, float]:
    """Processor seconds of the controller and of Redis so far."""
    assert instance.controller is not None and instance.redis is not None
    found = {}
    for name, process in (("controller_us", instance.controller), ("redis_us", instance.redis)):
        times = psutil.Process(process.pid).cpu_times()
        found[name] = times.user + times.system
    return found


async def fan_out(client: Client, function_id: str, inputs: int) -> None:
    """One call of many inputs, a chunk at a time, read as results come."""
    call_id = new_id("fc")

    async def submit() -> None:
        slots = asyncio.Semaphore(4)

        async def one(start: int) -> None:
            try:
                chunk = range(start, min(start + CHUNK, inputs))
                await client.call(
                    "Submit",
                    pb.SubmitRequest(
                        call_id=call_id,
                        function_id=function_id,
                        inputs=[pb.Input(index=i, payload=b"\x80\x05)}\x86.") for i in chunk],
                        submitted_ns=time.time_ns(),
                    ),
                )
            finally:
                slots.release()

        tasks = []
        for start in range(0, inputs, CHUNK):
            await slots.acquire()
            tasks.append(asyncio.ensure_future(one(start)))
        await asyncio.gather(*tasks)
        last = pb.SubmitRequest(call_id=call_id, function_id=function_id, last=True)
        await client.call("Submit", last)

    first = pb.SubmitRequest(call_id=call_id, function_id=function_id)
    await client.call("Submit", first)
    submitting = asyncio.ensure_future(submit())
    count = 0
    async for batch in client.call("Results", pb.ResultsRequest(call_id=call_id)):
        count += len(batch.results)
    await submitting
    assert count == inputs, (count, inputs)


async def singles(client: Client, function_id: str, calls: int, method: str) -> None:
    """Calls of one input, 32 at a time."""
    slots = asyncio.Semaphore(32)

    async def one() -> None:
        async with slots:
            if method == "Invoke":
                await client.invoke(function_id)
            else:
                await client.submit(function_id, {0: b"x"})

    await asyncio.gather(*(one() for _ in range(calls)))


async def measure(instance: Instance, inputs: int, single: int) -> list[dict[str, Any]]:
    """All rows."""
    rows = []
    async with Client(instance) as client, InstantAgent(instance, max_runners=8) as _:
        _app, [function_id] = await client.register("app", spec())
        await fan_out(client, function_id, FIRST_INPUTS)
        for name, count, work in (
            ("fan-out", inputs, fan_out(client, function_id, inputs)),
            ("invoke", single, singles(client, function_id, single, "Invoke")),
            ("spawn", single, singles(client, function_id, single, "Submit")),
        ):
            rows.append({"what": name} | await measured(work, count, partial(used, instance)))
    return rows


def table(rows: list[dict[str, Any]]) -> Table:
    """What is printed; the limit is where the two have the whole core."""
    shown = Table(title="controller and Redis on one core", title_justify="left")
    for title in ("", "inputs/s", "controller, us", "redis, us", "limit/s"):
        shown.add_column(title, justify="right" if title else "left")
    for row in rows:
        limit = 1e6 / max(1e-9, row["controller_us"] + row["redis_us"])
        each = (f"{row[name]:.1f}" for name in ("controller_us", "redis_us"))
        shown.add_row(row["what"], f"{row['inputs_per_second']:,.0f}", *each, f"{limit:,.0f}")
    return shown


def main() -> int:
    """Measure and show."""
    options = script.options("controller", __doc__.splitlines()[0])
    console = script.console()
    inputs, single = (QUICK_INPUTS, QUICK_SINGLE) if options.quick else (INPUTS, SINGLE)
    cores = sorted(os.sched_getaffinity(0))
    with running_instance() as instance:
        if len(cores) > 1:
            for process in (instance.controller, instance.redis):
                assert process is not None
                for thread in psutil.Process(process.pid).threads():
                    os.sched_setaffinity(thread.id, {cores[0]})
            os.sched_setaffinity(0, set(cores[1:]))
        rows = asyncio.run(measure(instance, inputs, single))
    console.print(table(rows))
    write_json(options.json, {"machine": machines.describe(), "quick": options.quick, "rows": rows})
    console.print(f"[dim]figures: {options.json}[/]")
    return script.verdict(console, [], check=options.check)


if __name__ == "__main__":
    script.run(main)
