"""Items of separate callers in one batch, and side by side: what collecting them costs.

    .venv/bin/python bench/batching.py [--quick] [--json FILE] [--check] [--results DIR]

First: 64 tasks of one client call a batched function with an item each, against one call of a plain
function with the list of all 64, in rounds by turns. The model takes DEVICE_MS for a batch, on a
device that is played by a sleep, as it is not to take processor time from what is measured; without
it, what is left is what the calls cost. Second: an engine with continuous batching, as those that
serve language models: it takes a step for all requests that it has, and requests come and go
between steps; the same requests one by one, and side by side by ``@rekindle.concurrent``. Third:
how full batches are where several times as many call at once as fit into one.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any

from rich.table import Table

import rekindle
from lab import script
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json

ITEMS = 64
DEVICE_MS = 10.0
ROUNDS, QUICK_ROUNDS = 60, 6
#: Requests, tokens of each, and what a step of the engine takes on its device, for all of them.
REQUESTS, TOKENS, STEP_MS = 32, 16, 2.0
#: How many call at once, of a batch each; and what a batch takes.
CROWD, OF_A_CROWD, CROWD_MS = 192, 16, 20.0
#: Promised in SPECIFICATION.md: of the items a second of one call with a list.
PART = 0.5
#: And of continuous batching: times the rate of requests one by one.
TIMES = 8.0

app = rekindle.App("batching")


def model(texts: list[str], device_ms: float) -> list[int]:
    """One pass for a whole batch."""
    if device_ms:
        time.sleep(device_ms / 1000)
    return [len(text) for text in texts]


@app.function(max_containers=1)
def listed(texts: list[str], device_ms: float) -> list[int]:
    """All items in one call."""
    return model(texts, device_ms)


@app.function(max_containers=1)
@rekindle.batched(max_batch_size=ITEMS, wait_ms=1000)
def collected(texts: list[str], device_ms: list[float]) -> list[int]:
    """An item for each call."""
    return model(texts, device_ms[0])


def sizes(items: list[int]) -> list[int]:
    """For each item, how many were in its batch."""
    time.sleep(CROWD_MS / 1000)
    return [len(items)] * len(items)


@app.function(max_containers=1)
@rekindle.batched(max_batch_size=OF_A_CROWD, wait_ms=20)
def waited(items: list[int]) -> list[int]:
    """An item waits for others."""
    return sizes(items)


@app.function(max_containers=1)
@rekindle.batched(max_batch_size=OF_A_CROWD, wait_ms=0)
def unwaited(items: list[int]) -> list[int]:
    """A batch is what has come."""
    return sizes(items)


class Engine:
    """Continuous batching: one step at a time, for all requests that are there."""

    def __init__(self) -> None:
        self._left: dict[asyncio.Future[int], int] = {}
        self._task: asyncio.Task[None] | None = None
        self.steps = 0

    async def generate(self, tokens: int) -> int:
        """As many steps as tokens; how many requests were in the last one."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._left[done] = tokens
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())
        return await done

    async def _run(self) -> None:
        while self._left:
            await asyncio.sleep(STEP_MS / 1000)
            self.steps += 1
            together = len(self._left)
            for request in list(self._left):
                self._left[request] -= 1
                if not self._left[request]:
                    del self._left[request]
                    request.set_result(together)


@app.cls(max_containers=1)
@rekindle.concurrent(max_inputs=REQUESTS)
class Served:
    """An engine in a runner."""

    @rekindle.enter()
    def load(self) -> None:
        """Make it."""
        self.engine = Engine()

    @rekindle.method()
    async def generate(self, tokens: int) -> int:
        """One request."""
        return await self.engine.generate(tokens)


async def by_turns(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round of each way; the first one of each is not counted."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            await way()
            if number:
                took[name].append(1000 * (time.perf_counter() - began))
    return took


def calls_of(device_ms: float) -> dict[str, Callable[[], Any]]:
    """All items in one call, and each in its own."""
    texts = [f"item {number}" for number in range(ITEMS)]
    expected = [len(text) for text in texts]

    async def together() -> None:
        assert await listed.remote.aio(texts, device_ms) == expected

    async def each() -> None:
        calls = [collected.remote.aio(text, device_ms) for text in texts]
        assert await asyncio.gather(*calls) == expected

    return {"a list": together, "items": each}


def requests_of(served: Any) -> dict[str, Callable[[], Any]]:
    """Requests to the engine."""

    async def one_by_one() -> None:
        for _ in range(REQUESTS // 8):
            await served.generate.remote.aio(TOKENS)

    async def side_by_side() -> None:
        together = await asyncio.gather(
            *[served.generate.remote.aio(TOKENS) for _ in range(REQUESTS)]
        )
        assert max(together) > REQUESTS // 2

    return {"one by one": one_by_one, "side by side": side_by_side}


def crowds() -> dict[str, Callable[[], Any]]:
    """Calls at once; each gives the size of the batch that an item was in."""

    def called(function: Any) -> Callable[[], Any]:
        async def call() -> list[int]:
            return list(await asyncio.gather(*[function.remote.aio(n) for n in range(CROWD)]))

        return call

    async def spawned() -> list[int]:
        calls = await asyncio.gather(*[waited.spawn.aio(number) for number in range(CROWD)])
        return list(await asyncio.gather(*[call.get.aio() for call in calls]))

    return {
        "called, wait_ms=20": called(waited),
        "called, wait_ms=0": called(unwaited),
        "spawned, wait_ms=20": spawned,
    }


async def fullness(rounds: int) -> dict[str, float]:
    """Of each way, the part of its batches that was filled; the first crowd is not counted."""
    found: dict[str, float] = {}
    for name, way in crowds().items():
        parts = []
        for number in range(rounds + 1):
            batches = sum(1 / size for size in await way())
            if number:
                parts.append(CROWD / batches / OF_A_CROWD)
        found[name] = statistics.median(parts)
    return found


async def measure(rounds: int) -> dict[str, float]:
    """Median milliseconds of a round."""
    found: dict[str, float] = {}
    for device_ms in (DEVICE_MS, 0.0):
        for name, took in (await by_turns(calls_of(device_ms), rounds)).items():
            found[f"{name}, {device_ms:g} ms"] = statistics.median(took)
    engine = await by_turns(requests_of(Served()), max(3, rounds // 6))
    found["one by one"] = 8 * statistics.median(engine["one by one"])
    found["side by side"] = statistics.median(engine["side by side"])
    return found


def main() -> int:
    """Measure and show; 1 where --check finds a promise that is not kept."""
    options = script.options("batching", __doc__.splitlines()[0])
    console = script.console()
    with app.run():
        ms = asyncio.run(measure(QUICK_ROUNDS if options.quick else ROUNDS))
        full = asyncio.run(fullness(3 if options.quick else 9))
    machine = machines.describe()

    shown = Table(title=f"{ITEMS} items, a batched function", title_justify="left")
    for column in ("the model takes", "a list, ms", "items, ms", "items a second", "of a list"):
        shown.add_column(column, justify="right")
    for device_ms in (DEVICE_MS, 0.0):
        listed_ms, items_ms = (ms[f"{way}, {device_ms:g} ms"] for way in ("a list", "items"))
        rate, part = 1000 * ITEMS / items_ms, listed_ms / items_ms
        shown.add_row(
            f"{device_ms:g} ms",
            f"{listed_ms:.1f}",
            f"{items_ms:.1f}",
            f"{rate:,.0f}",
            f"{part:.0%}",
        )
    console.print(shown)
    cost_us = 1000 * (ms["items, 0 ms"] - ms["a list, 0 ms"]) / ITEMS
    times = ms["one by one"] / ms["side by side"]
    console.print(
        f"An item of its own costs {cost_us:.0f} us more than one of a list.\n"
        f"{REQUESTS} requests of {TOKENS} tokens, steps of {STEP_MS:g} ms: one by one "
        f"{ms['one by one']:.0f} ms, side by side {ms['side by side']:.0f} ms, {times:.1f} times "
        "as many a second"
    )
    console.print(
        f"{CROWD} at once, at most {OF_A_CROWD} in a batch: "
        + "; ".join(f"{name}: batches {part:.0%} full" for name, part in full.items())
        + f"\n[dim]{machines.line(machine)}[/]"
    )
    part = ms[f"a list, {DEVICE_MS:g} ms"] / ms[f"items, {DEVICE_MS:g} ms"]
    figures = {
        "machine": machine,
        "ms": {name: round(took, 2) for name, took in ms.items()},
        "part_of_a_list": round(part, 3),
        "cost_of_an_item_us": round(cost_us, 1),
        "times_one_by_one": round(times, 2),
        "batches_full": {name: round(part, 3) for name, part in full.items()},
    }
    write_json(options.json, figures)
    console.print(f"[dim]figures: {options.json}[/]\n")
    promises = [
        script.Promise(
            "S27",
            f"{ITEMS} calls with an item each reach at least {PART:.0%} of the items a second of "
            f"one call with a list, of a model that takes {DEVICE_MS:g} ms ({part:.0%})",
            part >= PART,
        ),
        script.Promise(
            "S28",
            f"{REQUESTS} requests side by side to an engine with continuous batching are at least "
            f"{TIMES:g} times as many a second as one by one ({times:.1f})",
            times >= TIMES,
        ),
    ]
    return script.verdict(console, promises, check=options.check)


if __name__ == "__main__":
    script.run(main)
