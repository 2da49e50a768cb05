"""What the controller and its Redis alone can do: inputs a second, with an agent that runs nothing.

A real controller and a real Redis are pinned to one core; a client and an agent that runs nothing
share the others. Printed: inputs a second from the first submission to the last result, and the
processor time that the controller and Redis took for each input.

    python bench/controller.py [--inputs 100000] [--single 2000]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rekindle.wire import rekindle_pb2 as pb
from tests.controller.harness import (
    Client,
    FakeAgent,
    Instance,
    new_id,
    running_instance,
    spec,
)

CHUNK = 512


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


def used(instance: Instance) -> tuple[float, float]:
    """Processor seconds of the controller and of Redis so far."""
    assert instance.controller is not None and instance.redis is not None
    found = []
    for process in (instance.controller, instance.redis):
        times = psutil.Process(process.pid).cpu_times()
        found.append(times.user + times.system)
    return found[0], found[1]


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


async def measure(instance: Instance, inputs: int, single: int) -> None:
    """All rows."""
    async with Client(instance) as client, InstantAgent(instance, max_runners=8) as _:
        _app, [function_id] = await client.register("app", spec())
        await fan_out(client, function_id, 5_000)
        rows = [
            ("fan-out", inputs, fan_out(client, function_id, inputs)),
            ("invoke", single, singles(client, function_id, single, "Invoke")),
            ("spawn", single, singles(client, function_id, single, "Submit")),
        ]
        print(f"{'':10}{'inputs/s':>12}{'controller us':>16}{'redis us':>12}{'limit/s':>12}")
        for name, count, work in rows:
            before, began = used(instance), time.perf_counter()
            await work
            took = time.perf_counter() - began
            after = used(instance)
            each = [1e6 * (b - a) / count for a, b in zip(before, after, strict=True)]
            print(
                f"{name:10}{count / took:12,.0f}{each[0]:16.1f}{each[1]:12.1f}"
                f"{1e6 / max(1e-9, sum(each)):12,.0f}"
            )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--single", type=int, default=2_000)
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with running_instance() as instance:
        if len(cores) > 1:
            for process in (instance.controller, instance.redis):
                assert process is not None
                for thread in psutil.Process(process.pid).threads():
                    os.sched_setaffinity(thread.id, {cores[0]})
            os.sched_setaffinity(0, set(cores[1:]))
        asyncio.run(measure(instance, args.inputs, args.single))


if __name__ == "__main__":
    main()
