"""A layer and a snapshot that a node does not have, from a slow store: lazy against whole.

    .venv/bin/python bench/lazy.py [--quick] [--json FILE] [--check] [--results DIR]

The store is held to 50 MB/s for all requests together and 20 ms for each (lab/unwell.py). A layer
with PyTorch is mounted and imported from, by a new interpreter, until the first result; the ways
are taken in turn: all bytes fetched as they are, all fetched compressed, lazy on the first node
that ever starts it, and lazy once it is recorded what a start touches. A snapshot with 2 GB of
memory answers its first call, which touches 64 MiB of it.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lab import script, unwell
from lazying import layer as layers
from lazying import snapshot as snapshots
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json

BYTES_PER_S, LATENCY_S = 50e6, 0.020
MIB, QUICK_MIB = 2048, 512
ROUNDS = 3
#: Promised in SPECIFICATION.md.
TIMES_RAW, TIMES_COMPRESSED, OVER_BEST, TIMES_SNAPSHOT = 3.0, 1.7, 1.3, 3.0


def main() -> int:
    """Measure and show; 1 where --check finds a promise that is not kept."""
    options = script.options("lazy", __doc__.splitlines()[0])
    console = Console()
    scratch = Path(tempfile.mkdtemp(prefix="rk-lazy-", dir="/var/tmp"))
    unwell.register(scratch / "packages")
    try:
        return _measure(console, options, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _measure(console: Console, options: script.Options, scratch: Path) -> int:
    conduct = unwell.Conduct(bytes_per_s=BYTES_PER_S, latency_s=LATENCY_S)
    layer = layers.make(scratch)
    rounds = [
        layers.measure(layer, conduct, scratch) for _ in range(1 if options.quick else ROUNDS)
    ]
    warm, raw, compressed, unrecorded, lazy = (
        statistics.median(getattr(one, name) for one in rounds)
        for name in ("warm", "raw", "compressed", "unrecorded", "lazy")
    )
    received = statistics.median(one.received_bytes for one in rounds)
    best = received / BYTES_PER_S + warm
    made = snapshots.make(scratch, QUICK_MIB if options.quick else MIB)
    snapshot_first = snapshots.first_answer(made, conduct, scratch, lazy=True, record=True)
    snapshot_lazy = snapshots.first_answer(made, conduct, scratch, lazy=True)
    snapshot_whole = snapshots.first_answer(made, conduct, scratch, lazy=False)
    machine = machines.describe()

    table = Table(title=f"import torch, a layer of {layer.size >> 20} MiB", title_justify="left")
    for column in ("way", "times lazy", "s to the first result"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for way, took in (
        ("lazy", lazy),
        ("lazy, what is touched not recorded yet", unrecorded),
        ("whole, compressed", compressed),
        ("whole, as it is", raw),
        (f"its {received / 1e6:.0f} MB at that rate, and a warm import", best),
        ("all here already", warm),
    ):
        table.add_row(way, f"{took / lazy:.2f}", f"{took:.2f}")
    console.print(table)
    table = Table(title=f"a snapshot of {made.size >> 20} MiB, its first answer")
    for column in ("way", "times lazy", "s"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for way, took in (
        ("lazy", snapshot_lazy),
        ("lazy, what is touched not recorded yet", snapshot_first),
        ("whole", snapshot_whole),
        ("made anew, with nothing from the store", made.cold_s),
    ):
        table.add_row(way, f"{took / snapshot_lazy:.2f}", f"{took:.2f}")
    console.print(table)
    console.print(f"[dim]{machines.line(machine)}[/]")
    figures = {
        "machine": machine,
        "times_lazy": {
            "whole_raw": round(raw / lazy, 2),
            "whole_compressed": round(compressed / lazy, 2),
            "unrecorded": round(unrecorded / lazy, 2),
            "best": round(lazy / best, 2),
            "snapshot_whole": round(snapshot_whole / snapshot_lazy, 2),
        },
        "layer": {"size": layer.size, "stored": layer.stored_bytes, "received": received},
        "s": [vars(one) for one in rounds],
        "snapshot_s": {
            "lazy": snapshot_lazy,
            "unrecorded": snapshot_first,
            "whole": snapshot_whole,
            "mib": made.mib,
        },
    }
    write_json(options.json, figures)
    console.print(f"[dim]figures: {options.json}[/]\n")
    promises = [
        script.Promise(
            "S29",
            f"`import torch` from a layer that is not here is at least {TIMES_RAW:g} times quicker "
            f"lazy than when it is fetched as it is ({raw / lazy:.1f}), and {TIMES_COMPRESSED:g} "
            f"times than when it is fetched compressed ({compressed / lazy:.1f})",
            raw >= TIMES_RAW * lazy and compressed >= TIMES_COMPRESSED * lazy,
        ),
        script.Promise(
            "S30",
            f"and takes at most {OVER_BEST:g} times what its bytes take at that rate and a warm "
            f"import together ({lazy / best:.2f})",
            lazy <= OVER_BEST * best,
        ),
        script.Promise(
            "S31",
            f"the first answer from a snapshot that is not here is at least {TIMES_SNAPSHOT:g} "
            f"times quicker lazy than whole ({snapshot_whole / snapshot_lazy:.1f}), with 2 GB",
            None if options.quick else snapshot_whole >= TIMES_SNAPSHOT * snapshot_lazy,
        ),
    ]
    return script.verdict(console, promises, check=options.check)


if __name__ == "__main__":
    script.run(main)
