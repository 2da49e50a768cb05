"""A map over a million inputs: how fast it streams, and what it takes of each process's memory.

.venv/bin/python bench/million.py [--quick] [--json FILE] [--check] [--results DIR]

Each way to go through them has a client and an instance of its own: values in order, values as they
come, values in order behind a first input that is slow, and inputs that are only submitted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis
from rich.table import Table

import rekindle
from lab import markdown as tables
from lab import script
from lab.steps import steps
from rekindle import paths
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json
from rekindle.controller.storage.embedded_redis import redis_socket
from rekindle.exception import Error
from rekindle.sdk.local.directory import supervisor_pid

INPUTS, QUICK_INPUTS = 1_000_000, 20_000
#: Before the measurement: they start runners and fill caches.
FIRST_INPUTS = 2_000
WAYS = {
    "ordered": "in order",
    "unordered": "as they come",
    "slow_first": "in order, the first input slow",
    "spawn_map": "submitted only",
}
#: How long the slow first input takes.
SLOW_S, QUICK_SLOW_S = 10.0, 2.0
#: Promised in SPECIFICATION.md: growth of the resident memory of each process, MiB.
GROWS_BY_MIB = 64
#: Of Redis: it keeps results for their time, so it grows with the inputs. Bytes an input.
REDIS_BYTES = 512
#: Redis once the app has ended, of which only spawned calls are kept: MiB more than before.
LEFT_MIB = 16
#: How long it is looked whether the server has given back what it need not hold.
_SHRINK_S = 60.0
PROCESSES = ("client", "controller", "agent", "redis")
_SAMPLE_S = 0.05
#: What has not shrunk for so long will not.
_STILL_S = 4.0
_COMMAND = (str(Path(sys.executable).with_name("rekindle")),)
#: One way, all inputs: far more than it takes.
_LIMIT_S = 3600.0

app = rekindle.App("million")


@app.function(timeout=3600)
def same(n: int, slow_s: float = 0.0) -> int:
    """Give the input back; the first one after a while."""
    if n == 0 and slow_s:
        time.sleep(slow_s)
    return n


# ---- one way, in a process of its own ----------------------------------------------------------


def processes(supervisor: int) -> dict[str, psutil.Process]:
    """The processes that are measured, by name."""
    found = {"client": psutil.Process()}
    for child in psutil.Process(supervisor).children():
        words = " ".join(child.cmdline())
        for name, sign in (
            ("controller", "rekindle.controller "),
            ("agent", "rekindle.runtime.agent "),
            ("redis", "redis"),
        ):
            if sign in words:
                found[name] = child
                break
    return found


@contextmanager
def watched(found: dict[str, psutil.Process]) -> Iterator[dict[str, tuple[int, int]]]:
    """Resident bytes of each process: before, and at most within."""
    over = threading.Event()
    before = {name: process.memory_info().rss for name, process in found.items()}
    peak = dict(before)
    out: dict[str, tuple[int, int]] = {}

    def watch() -> None:
        while not over.wait(_SAMPLE_S):
            for name, process in found.items():
                peak[name] = max(peak[name], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield out
    finally:
        over.set()
        thread.join()
        out.update({name: (before[name], peak[name]) for name in found})


def redis_holds(instance: Path) -> dict[str, int]:
    """What the server of an instance takes, in bytes."""
    with redis.Redis(unix_socket_path=str(redis_socket(instance))) as server:
        info = server.info()
        return {
            "keys": server.dbsize(),
            "used_bytes": info["used_memory"],
            "rss_bytes": info["used_memory_rss"],
            "file_bytes": info["aof_current_size"],
            "busy": info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"],
        }


def settled(instance: Path) -> dict[str, int]:
    """The same once it has given back what it need not hold, or no more of it for a while."""
    end = time.monotonic() + _SHRINK_S
    least, since = redis_holds(instance), time.monotonic()
    while time.monotonic() < end and (time.monotonic() - since < _STILL_S or least["busy"]):
        time.sleep(_SAMPLE_S)
        now = redis_holds(instance)
        if now["file_bytes"] < least["file_bytes"] or now["used_bytes"] < least["used_bytes"]:
            since = time.monotonic()
        least = now
    return least


def measure(way: str, inputs: int, slow_s: float) -> dict[str, Any]:
    """Go through so many inputs; on an instance that is up, which stays when the app has ended."""
    instance = paths.daemon_dir()
    before = redis_holds(instance)
    with app.run():
        for _ in same.map(range(1, FIRST_INPUTS)):
            pass
        supervisor = supervisor_pid(instance)
        assert supervisor is not None
        found = processes(supervisor)
        with watched(found) as memory:
            began = time.perf_counter()
            go(way, inputs, slow_s)
            took = time.perf_counter() - began
            at_end = redis_holds(instance)
    closed = settled(instance)
    return {
        "way": way,
        "inputs": inputs,
        "seconds": round(took, 3),
        "inputs_per_second": round(inputs / took, 1),
        "processes": {
            name: {"before_bytes": before, "peak_bytes": peak, "grew_bytes": peak - before}
            for name, (before, peak) in memory.items()
        },
        "redis": {"before": before, "at_end": at_end, "closed": closed},
    }


def go(way: str, inputs: int, slow_s: float) -> None:
    """Go through them, and check that each came back once."""
    if way == "spawn_map":
        call = same.spawn_map(range(inputs))
        assert call.num_inputs() == inputs
        return
    kwargs = {"slow_s": slow_s} if way == "slow_first" else {}
    total = count = 0
    for value in same.map(range(inputs), kwargs=kwargs, order_outputs=way != "unordered"):
        if way != "unordered" and value != count:
            raise AssertionError(f"input {count} gave {value}")
        total += value
        count += 1
    assert (count, total) == (inputs, inputs * (inputs - 1) // 2)


def apart(way: str, quick: bool) -> dict[str, Any]:
    """Measure in a process, and in a home, of its own."""
    with tempfile.TemporaryDirectory(prefix="rk-", ignore_cleanup_errors=True) as home:
        env = {name: value for name, value in os.environ.items() if name != "REKINDLE_DIR"}
        env["REKINDLE_HOME"] = home
        subprocess.run([*_COMMAND, "up"], env=env, stdout=subprocess.DEVNULL, check=True)
        try:
            done = subprocess.run(
                [sys.executable, __file__, "--way", way, *(["--quick"] if quick else [])],
                env=env,
                stdout=subprocess.PIPE,
                text=True,
                timeout=_LIMIT_S,
            )
        finally:
            subprocess.run([*_COMMAND, "down"], env=env, stdout=subprocess.DEVNULL, check=True)
    if done.returncode != 0:
        raise Error(f"{way}: the process that measured ended with {done.returncode}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


# ---- all of them -------------------------------------------------------------------------------


def grew_mib(measured: dict[str, Any], name: str) -> float:
    """By how much the memory of a process grew."""
    return float(measured["processes"][name]["grew_bytes"]) / 2**20


def table(found: list[dict[str, Any]]) -> Table:
    """What is printed."""
    shown = Table(
        title=f"a map over {found[0]['inputs']:,} inputs: peak of resident memory, and growth, MiB",
        title_justify="left",
    )
    shown.add_column("values")
    shown.add_column("inputs/s", justify="right")
    for name in PROCESSES:
        shown.add_column(name, justify="right")
    for measured in found:
        shown.add_row(WAYS[measured["way"]], *_peaks(measured))
    return shown


def _peaks(measured: dict[str, Any]) -> list[str]:
    cells = [f"{measured['inputs_per_second']:,.0f}"]
    for name in PROCESSES:
        peak = measured["processes"][name]["peak_bytes"] / 2**20
        cells.append(f"{peak:,.0f} (+{grew_mib(measured, name):,.0f})")
    return cells


def kept(found: list[dict[str, Any]]) -> Table:
    """What Redis holds, before, at the end, and when the app has ended."""
    shown = Table(title="redis, MiB: in memory, and on disk", title_justify="left")
    for name in ("values", "before", "at the end of the map", "when the app has ended"):
        shown.add_column(name, justify="left" if name == "values" else "right")
    for measured in found:
        shown.add_row(WAYS[measured["way"]], *_held(measured))
    return shown


def _held(measured: dict[str, Any]) -> list[str]:
    return [
        f"{one['used_bytes'] / 2**20:,.1f} / {one['file_bytes'] / 2**20:,.1f}"
        for one in (measured["redis"][when] for when in ("before", "at_end", "closed"))
    ]


def left_mib(measured: dict[str, Any]) -> float:
    """What Redis holds more than before, in memory and on disk, when the app has ended."""
    was, now = measured["redis"]["before"], measured["redis"]["closed"]
    names = ("used_bytes", "file_bytes")
    return max(float(now[name] - was[name]) for name in names) / 2**20


def markdown(found: list[dict[str, Any]], machine: dict[str, Any]) -> str:
    """The same as a document."""
    rows = [["values", "inputs a second", *PROCESSES]]
    rows += [[WAYS[measured["way"]], *_peaks(measured)] for measured in found]
    titles = ["values", "before", "at the end of the map", "when the app has ended"]
    lines = [
        f"# A map over {found[0]['inputs']:,} inputs",
        "",
        "Peak of each process's resident memory, and by how much it grew, in MiB. Redis keeps what",
        "its reader has not taken. One run of `bench/million.py`; " + machines.line(machine) + ".",
        "",
        *tables.table(rows),
        "",
        "What Redis holds in memory, and on disk, in MiB. Spawned inputs are kept for their time.",
        "",
        *tables.table([titles, *([WAYS[measured["way"]], *_held(measured)] for measured in found)]),
    ]
    return "\n".join(lines) + "\n"


def promises(found: list[dict[str, Any]]) -> list[script.Promise]:
    """What SPECIFICATION.md says of it."""
    ours = [name for name in PROCESSES if name != "redis"]
    most = max((grew_mib(measured, name), name) for measured in found for name in ours)
    left = max(left_mib(measured) for measured in found if measured["way"] != "spawn_map")
    grew = max(m["processes"]["redis"]["grew_bytes"] / m["inputs"] for m in found)
    return [
        script.Promise(
            "B1",
            f"client, controller and agent each grow by at most {GROWS_BY_MIB} MiB "
            f"(the most: {most[1]}, {most[0]:.0f} MiB)",
            most[0] <= GROWS_BY_MIB,
        ),
        script.Promise(
            "B2",
            f"Redis grows by at most {REDIS_BYTES} bytes an input ({grew:.0f} bytes)",
            grew <= REDIS_BYTES,
        ),
        script.Promise(
            "B2",
            f"when the app of a map has ended, Redis holds at most {LEFT_MIB} MiB more than before "
            f"it, in memory and on disk ({left:.1f} MiB)",
            left <= LEFT_MIB,
        ),
    ]


def main() -> int:
    """Measure and show; with --check, 1 for a promise not kept."""
    options = script.options(
        "million",
        __doc__.splitlines()[0],
        add=lambda parser: parser.add_argument(
            "--way", choices=WAYS, help="one way alone, on the instance that is up, as JSON"
        ),
    )
    if options.own.way:
        inputs, slow_s = (QUICK_INPUTS, QUICK_SLOW_S) if options.quick else (INPUTS, SLOW_S)
        print(json.dumps(measure(options.own.way, inputs, slow_s)))
        return 0
    console = script.console()
    found = []
    with steps(console) as progress:
        for way, words in WAYS.items():
            progress.part(words)
            found.append(apart(way, options.quick))
    machine = machines.describe()
    console.print(table(found))
    console.print(kept(found))
    console.print(f"[dim]{machines.line(machine)}[/]")
    write_json(options.json, {"machine": machine, "quick": options.quick, "runs": found})
    options.file("million.md").write_text(markdown(found, machine), encoding="utf-8")
    console.print(f"[dim]figures: {options.json} and {options.results}/million.md[/]\n")
    return script.verdict(console, promises(found), check=options.check)


if __name__ == "__main__":
    script.run(main)
