"""Items of a generator: how many a second, beside a pipe; and what a slow reader costs.

.venv/bin/python bench/generators.py [--quick] [--json FILE] [--check] [--results DIR]

The pipe is a multiprocessing.Pipe of Python's own from one bare process to another, with nothing
but its send and recv: what any other way has to be measured by. The ways take turns, in one run.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from rich.table import Table

import rekindle
from lab import script
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json
from rekindle.bench.summary import percentile
from rekindle.linux.maps import share_of

ROUNDS, QUICK_ROUNDS = 9, 3
#: What is yielded: name -> (an item, how many in a round).
ITEMS: dict[str, tuple[Any, int]] = {
    "a number": (7, 40_000),
    "1 KiB": (bytes(1 << 10), 20_000),
    "1 MiB": (bytes(1 << 20), 400),
}
#: For the slow reader: items of 1 MiB, and how long it reads nothing.
SLOW_ITEMS, SLOW_S = 512, 2.0
#: Promised in SPECIFICATION.md.
LEAST_OF_PIPE = 0.5
MOST_MIB = 16.0

app = rekindle.App("generators-bench")


@app.function()
def plain(item: Any, count: int) -> Iterator[Any]:
    """The same item, again and again."""
    for _ in range(count):
        yield item


@app.function()
def large(path: str, count: int) -> Iterator[bytes]:
    """Items of 1 MiB that are new memory each; ``path`` says how many have been made."""
    yield str(os.getpid()).encode()
    for at in range(count):
        item = bytes([at % 256]) * (1 << 20)
        with open(path, "w") as file:
            file.write(str(at + 1))
        yield item


# ---- the ways ----------------------------------------------------------------------------------


def _send(pipe: Connection, item: Any, count: int) -> None:
    for _ in range(count):
        pipe.send(item)
    pipe.close()


def by_pipe(item: Any, count: int) -> float:
    """Items a second from a process of multiprocessing's, once the first has come."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_send, args=(sending, item, count + 1)
    )
    process.start()
    sending.close()
    receiving.recv()
    began = time.perf_counter()
    for _ in range(count):
        receiving.recv()
    took_s = time.perf_counter() - began
    process.join()
    return count / took_s


def by_generator(item: Any, count: int) -> float:
    """Items a second of ``remote_gen``, once the first has come."""
    items = plain.remote_gen(item, count + 1)
    next(items)
    began = time.perf_counter()
    for _ in items:
        pass
    return count / (time.perf_counter() - began)


def by_async_generator(item: Any, count: int) -> float:
    """The same of ``remote_gen.aio``."""

    async def read() -> float:
        items = plain.remote_gen.aio(item, count + 1)
        await anext(items)
        began = time.perf_counter()
        async for _ in items:
            pass
        return count / (time.perf_counter() - began)

    return asyncio.run(read())


WAYS: dict[str, Callable[[Any, int], float]] = {
    "Pipe": by_pipe,
    "remote_gen": by_generator,
    "remote_gen.aio": by_async_generator,
}


def rates(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Items a second: by item and way, one figure for each round."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, (item, count) in ITEMS.items():
        ways = found[name] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, measure in WAYS.items():
                ways[way].append(measure(item, count))
    return found


def ratio(ways: dict[str, list[float]], way: str) -> float:
    """The median of each round's rate beside that of the pipe in the same round."""
    pairs = zip(ways[way], ways["Pipe"], strict=True)
    return percentile([one / pipe for one, pipe in pairs], 50)


# ---- a slow reader -----------------------------------------------------------------------------


def slow_reader(path: str) -> dict[str, float]:
    """How far a generator gets, and what both ends hold more, while nothing is read for a while."""
    items = large.remote_gen(path, SLOW_ITEMS)
    pid = int(next(items))
    before = _held(pid)
    _first = next(items)
    time.sleep(SLOW_S)
    with open(path) as file:
        made = int(file.read())
    grown = _held(pid) - before
    left = sum(1 for _ in items)
    return {"made": made, "read": 1, "mib": grown / (1 << 20), "left": left}


def _held(pid: int) -> int:
    shares = [share_of(one) for one in (pid, os.getpid())]
    return sum(share.pss for share in shares if share is not None)


def main() -> int:
    """Measure and show; 1 for a promise not kept."""
    options = script.options("generators", (__doc__ or "").splitlines()[0])
    console = script.console()
    with app.run():
        by_generator(1, 1000)  # starts the runner
        found = rates(QUICK_ROUNDS if options.quick else ROUNDS)
        slow = slow_reader(str(options.file("made.txt").absolute()))
    machine = machines.describe()

    table = Table(title="items a second, medians", title_justify="left")
    for column in ("item", *WAYS, "remote_gen / Pipe", "aio / Pipe"):
        table.add_column(column, justify="right")
    ratios: dict[str, dict[str, float]] = {}
    for name, ways in found.items():
        of = partial(ratio, ways)
        ratios[name] = {way: round(of(way), 3) for way in WAYS if way != "Pipe"}
        medians = [f"{percentile(one, 50):,.0f}" for one in ways.values()]
        table.add_row(name, *medians, *(f"{one:.2f}" for one in ratios[name].values()))
    console.print(table)
    console.print(
        f"while a reader of items of 1 MiB reads nothing for {SLOW_S:g} s: {slow['made']:g} made, "
        f"{slow['read']:g} read; both ends hold {slow['mib']:.1f} MiB more"
    )
    console.print(f"[dim]{machines.line(machine)}[/]")
    write_json(
        options.json,
        {
            "machine": machine,
            "items_per_second": {
                name: {way: [round(one) for one in rates] for way, rates in ways.items()}
                for name, ways in found.items()
            },
            "ratios_to_pipe": ratios,
            "slow_reader": {name: round(value, 2) for name, value in slow.items()},
        },
    )
    worst = min(one["remote_gen"] for one in ratios.values())
    return script.verdict(
        console,
        [
            script.Promise(
                "I4",
                f"remote_gen has at least {LEAST_OF_PIPE:g} times the items a second of a pipe "
                f"({worst:.2f} at the worst)",
                worst >= LEAST_OF_PIPE,
            ),
            script.Promise(
                "I2",
                f"a reader that stops holds a generator up: at most {MOST_MIB:g} MiB for items of "
                f"1 MiB ({slow['mib']:.1f} MiB, {slow['made']:g} made)",
                slow["mib"] <= MOST_MIB and slow["made"] < SLOW_ITEMS,
            ),
        ],
        check=options.check,
    )


if __name__ == "__main__":
    script.run(main)
