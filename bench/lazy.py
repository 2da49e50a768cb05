"""A layer and a snapshot that a node does not have, from a slow store: lazy against whole.

    .venv/bin/python bench/lazy.py [--quick] [--only PART] [--json FILE] [--check] [--results DIR]

The store is held to 50 MB/s for all requests together and 20 ms for each (lab/unwell.py). A layer
with PyTorch is mounted and imported from, by a new interpreter, until the first result; the ways
are taken in turn: all bytes fetched as they are, all fetched compressed, lazy on the first node
that ever starts it, and lazy once it is recorded what a start touches. A snapshot with 2 GB of
memory answers its first call, which touches 64 MiB of it.
"""

from __future__ import annotations

import math
import shutil
import signal
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lab import script, unwell
from lab.checks import Check, all_kept, times
from lazying import layer as layers
from lazying import snapshot as snapshots
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json

BYTES_PER_S, LATENCY_S = 50e6, 0.020
MIB, QUICK_MIB = 2048, 512
ROUNDS = 3
#: Promised in SPECIFICATION.md.
TIMES_RAW, TIMES_COMPRESSED, OVER_BEST, TIMES_SNAPSHOT = 3.0, 1.7, 1.3, 3.0

_CONDUCT = unwell.Conduct(bytes_per_s=BYTES_PER_S, latency_s=LATENCY_S)


def main() -> int:
    """Measure and show; 1 where --check finds a promise that is not kept."""
    options = script.options(
        "lazy",
        __doc__.splitlines()[0],
        add=lambda parser: parser.add_argument("--only", choices=("layer", "snapshot")),
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what is mounted is unmounted
    console = script.console()
    scratch = Path(tempfile.mkdtemp(prefix="rk-lazy-", dir="/var/tmp"))
    unwell.register(scratch / "packages")
    figures: dict[str, Any] = {"machine": machines.describe()}
    try:
        if options.own.only != "snapshot":
            figures["layer"] = _layer(console, 1 if options.quick else ROUNDS, scratch)
        if options.own.only != "layer":
            mib = QUICK_MIB if options.quick else MIB
            figures["snapshot"] = _snapshot(console, mib, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    console.print(f"[dim]{machines.line(figures['machine'])}[/]")
    write_json(options.json, figures)
    console.print(f"[dim]figures: {options.json}[/]\n")
    return script.verdict(console, _promises(figures), check=options.check)


def _layer(console: Console, rounds: int, scratch: Path) -> dict[str, Any]:
    layer = layers.make(scratch)
    found = [layers.measure(layer, _CONDUCT, scratch) for _ in range(rounds)]
    s = {
        name: statistics.median(getattr(one, name) for one in found)
        for name in ("warm", "raw", "compressed", "unrecorded", "lazy")
    }
    received = statistics.median(one.received_bytes for one in found)
    s["best"] = received / BYTES_PER_S + s["warm"]
    _show(
        console,
        f"import torch and a first result, a layer of {layer.size >> 20} MiB",
        {
            "lazy": s["lazy"],
            "lazy, what is touched not recorded yet": s["unrecorded"],
            "whole, compressed": s["compressed"],
            "whole, as it is": s["raw"],
            f"its {received / 1e6:.0f} MB at that rate, and a warm import": s["best"],
            "all here already": s["warm"],
        },
    )
    return {
        "times_lazy": {name: round(took / s["lazy"], 3) for name, took in s.items()},
        "s": {name: round(took, 3) for name, took in s.items()},
        "bytes": {"size": layer.size, "stored": layer.stored_bytes, "received": received},
    }


def _snapshot(console: Console, mib: int, scratch: Path) -> dict[str, Any]:
    made = snapshots.make(scratch, mib)
    first = snapshots.first_answer(made, _CONDUCT, scratch, lazy=True, record=True)
    lazy = snapshots.first_answer(made, _CONDUCT, scratch, lazy=True)
    whole = snapshots.first_answer(made, _CONDUCT, scratch, lazy=False)
    _show(
        console,
        f"the first answer, a snapshot of {made.size >> 20} MiB",
        {
            "lazy": lazy,
            "lazy, what is touched not recorded yet": first,
            "whole": whole,
            "booted, with nothing from the store": made.cold_s,
        },
    )
    s = {"lazy": lazy, "unrecorded": first, "whole": whole, "booted": made.cold_s}
    return {
        "mib": made.mib,
        "times_lazy": {name: round(took / lazy, 3) for name, took in s.items()},
        "s": {name: round(took, 3) for name, took in s.items()},
    }


def _show(console: Console, title: str, ways: dict[str, float]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("way")
    table.add_column("times lazy", justify="right")
    table.add_column("s", justify="right")
    for way, took in ways.items():
        table.add_row(way, f"{took / ways['lazy']:.2f}", f"{took:.2f}")
    console.print(table)


def _promises(figures: dict[str, Any]) -> list[script.Promise]:
    layer = figures.get("layer", {}).get("times_lazy", {})
    raw, compressed = layer.get("raw", math.nan), layer.get("compressed", math.nan)
    over = 1 / layer.get("best", math.nan)
    snapshot = figures.get("snapshot", {})
    large = snapshot.get("mib") == MIB
    whole = snapshot["times_lazy"]["whole"] if large else math.nan
    checks = {
        "layer": Check(
            f"`import torch` from a layer that is not here is at least {TIMES_RAW:g} times quicker "
            f"lazy than when it is fetched as it is ({times(raw)}), and {TIMES_COMPRESSED:g} times "
            f"than when it is fetched compressed ({times(compressed)})",
            all_kept((raw >= TIMES_RAW, raw), (compressed >= TIMES_COMPRESSED, compressed)),
        ),
        "best": Check(
            f"it takes at most {OVER_BEST:g} times what its bytes take at that rate and a warm "
            f"import together ({times(over)})",
            all_kept((over <= OVER_BEST, over)),
        ),
        "snapshot": Check(
            f"the first answer from a snapshot of 2 GB that is not here is at least "
            f"{TIMES_SNAPSHOT:g} times quicker lazy than whole ({times(whole)})",
            all_kept((whole >= TIMES_SNAPSHOT, whole)),
        ),
    }
    return [
        script.Promise("S29", checks["layer"].text, checks["layer"].kept),
        script.Promise("S30", checks["best"].text, checks["best"].kept),
        script.Promise("S31", checks["snapshot"].text, checks["snapshot"].kept),
    ]


if __name__ == "__main__":
    script.run(main)
