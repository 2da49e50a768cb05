"""Dict and Queue against redis-py on the same Redis, in turns: one operation, and many at once.

Both sides pickle the same values and speak to the server itself. A Dict and a Queue keep limits and
times besides, and note each answer, so that a request that is sent again is done once.
"""

from __future__ import annotations

import math
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, cast

import redis
from rich.table import Table

import rekindle
from lab import script
from lab.checks import Check, all_kept, times
from rekindle import paths
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json
from rekindle.controller.storage.embedded_redis import redis_socket

_VALUE = "x" * 100
_MANY = 5000


@dataclass(frozen=True)
class Figure:
    """One comparison; microseconds of one operation, or of one item."""

    name: str
    kind: str  # "one" | "many"
    ours_us: float
    redis_us: float
    #: The median of the ratios of runs that followed each other.
    ratio: float


@dataclass(frozen=True)
class _Pair:
    name: str
    kind: str
    ours: Callable[[], object]
    redis: Callable[[], object]


@contextmanager
def instance() -> Iterator[None]:
    """One of our own, up as long as we measure."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="rk-bench-") as home:
        os.environ["REKINDLE_HOME"] = home
        os.environ.pop("REKINDLE_DIR", None)
        run = [sys.executable, "-c", "from rekindle.cli.main import main; main()"]
        subprocess.run([*run, "up"], check=True, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            subprocess.run([*run, "down"], check=True, stdout=subprocess.DEVNULL)
            os.environ.clear()
            os.environ.update(before)  # whoever asks for a home afterwards would make it again


def pairs(server: redis.Redis) -> list[_Pair]:
    """What is compared."""
    shared = rekindle.Dict.from_name("bench", create_if_missing=True)
    line = rekindle.Queue.from_name("bench", create_if_missing=True)
    values = [f"value {n}" for n in range(_MANY)]
    mapping = {f"key {n}": value for n, value in enumerate(values)}
    dumps, loads = pickle.dumps, pickle.loads
    # Of a client that blocks: never what the stubs say besides.
    taken = cast("Callable[..., Any]", server.lpop)
    value = cast("Callable[..., Any]", server.hget)

    def their_queue() -> None:
        server.rpush("q", dumps(_VALUE, 5))
        loads(taken("q"))

    def our_queue() -> None:
        line.put(_VALUE)
        line.get()

    def their_many() -> None:
        server.rpush("q", *[dumps(value, 5) for value in values])
        list(map(loads, taken("q", _MANY)))

    def our_many() -> None:
        line.put_many(values)
        line.get_many(_MANY)

    def their_items() -> None:
        {key.decode(): loads(raw) for key, raw in server.hscan_iter("h", count=_MANY)}

    server.hset("one", "key", dumps(_VALUE, 5))
    shared["key"] = _VALUE
    return [
        _Pair("Dict.get", "one", lambda: shared.get("key"), lambda: loads(value("one", "key"))),
        _Pair(
            "Dict.put",
            "one",
            lambda: shared.put("key", _VALUE),
            lambda: server.hset("one", "key", dumps(_VALUE, 5)),
        ),
        _Pair("Queue.put, get", "one", our_queue, their_queue),
        _Pair(
            "Dict.update",
            "many",
            lambda: shared.update(mapping),
            lambda: server.hset("h", mapping={k: dumps(v, 5) for k, v in mapping.items()}),
        ),
        _Pair("Dict.items", "many", lambda: dict(shared.items()), their_items),
        _Pair("Queue.put_many, get_many", "many", our_many, their_many),
    ]


def measured(pair: _Pair, rounds: int) -> Figure:
    """Both in turns."""
    each = 200 if pair.kind == "one" else 1
    per = each if pair.kind == "one" else _MANY

    def run(what: Callable[[], object]) -> float:
        began = time.perf_counter()
        for _ in range(each):
            what()
        return (time.perf_counter() - began) / per * 1e6

    run(pair.ours), run(pair.redis)
    both = [(run(pair.ours), run(pair.redis)) for _ in range(rounds)]
    ours, theirs = zip(*both, strict=True)
    ratio = statistics.median(one / other for one, other in both)
    return Figure(pair.name, pair.kind, statistics.median(ours), statistics.median(theirs), ratio)


def worst(figures: list[Figure], kind: str) -> float:
    """The largest ratio of a kind."""
    return max((one.ratio for one in figures if one.kind == kind), default=math.nan)


def goal(figures: list[Figure]) -> Check:
    """What we aim at: not a promise."""
    one, many = worst(figures, "one"), worst(figures, "many")
    text = (
        f"one operation takes {times(one)} times what redis-py takes (aim: 2), many at once "
        f"{times(many)} times (aim: 1)"
    )
    return Check(text, all_kept((one <= 2, one), (many <= 1, many)))


def main() -> int:
    """Measure, print, write."""
    options = script.options("objects", __doc__ or "")
    console = script.console()
    with instance():
        server = redis.Redis(unix_socket_path=str(redis_socket(paths.daemon_dir())))
        rounds = 3 if options.quick else 21
        figures = [measured(pair, rounds) for pair in pairs(server)]
    table = Table("operation", "", "µs", "redis-py, µs", "times", box=None, pad_edge=False)
    for one in figures:
        unit = "each" if one.kind == "one" else "an item"
        row = (f"{one.ours_us:.1f}", f"{one.redis_us:.1f}", f"{one.ratio:.2f}")
        table.add_row(one.name, unit, *row)
    console.print(table)
    machine = machines.describe()
    console.print(f"[dim]{machines.line(machine)}[/]")
    write_json(options.json, {"machine": machine, "figures": [asdict(one) for one in figures]})
    check = goal(figures)
    console.print(f"  {check.text}: {'reached' if check.kept else 'not reached'}", highlight=False)
    return 1 if options.check and not check.kept else 0


if __name__ == "__main__":
    script.run(main)
