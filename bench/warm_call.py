"""A warm call of a function that does nothing: what rekindle itself costs, from .remote() to None.

.venv/bin/python bench/warm_call.py [--quick] [--json FILE] [--check] [--results DIR]
"""

from __future__ import annotations

import time

from rich.table import Table

import rekindle
from lab import latencies, script
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json
from rekindle.bench.summary import percentile
from rekindle.bench.table import ms
from rekindle.sdk.calls import records

CALLS, QUICK_CALLS = 1000, 100
#: Calls before the measurement: they start the runner and fill caches.
FIRST_CALLS = 20
#: Promised in SPECIFICATION.md.
P50_BELOW_MS = 1.0

app = rekindle.App("warm-call")


@app.function()
def nothing() -> None:
    """Do nothing."""


def main() -> int:
    """Measure and show; 1 for a promise not kept."""
    options = script.options("warm_call", __doc__.splitlines()[0])
    console = script.console()
    took_ms: list[float] = []
    with app.run():
        for _ in range(FIRST_CALLS):
            nothing.remote()
        with records.collect() as finished:
            for _ in range(QUICK_CALLS if options.quick else CALLS):
                began = time.perf_counter_ns()
                nothing.remote()
                took_ms.append((time.perf_counter_ns() - began) / 1e6)
    # A call that another strategy served is not a warm call.
    warm = [took for took, r in zip(took_ms, finished, strict=True) if r.strategy == "warm"]
    names = dict.fromkeys(name for record in finished for name in record.phases)
    phases = {
        name: percentile([record.phases.get(name, 0.0) for record in finished], 50)
        for name in names
    }

    figures = {f"p{q}_ms": round(percentile(warm, q), 3) for q in (50, 95, 99)}
    machine = machines.describe()
    shown = Table(title=f"a warm call of a no-op, {len(warm)} calls", title_justify="left")
    for q in (50, 95, 99):
        shown.add_column(f"p{q} ms", justify="right")
    shown.add_column("calls a second", justify="right")
    rate = 1000 * len(warm) / sum(warm)
    shown.add_row(*(ms(figures[f"p{q}_ms"]) for q in (50, 95, 99)), f"{rate:,.0f}")
    console.print(shown)
    parts = ", ".join(f"{name} {took:.2f}" for name, took in phases.items())
    console.print(f"[dim]median of each phase, ms: {parts}\n{machines.line(machine)}[/]")

    whole = {
        "machine": machine,
        "function": "nothing",
        "calls": len(warm),
        **figures,
        "calls_per_second": round(rate, 1),
        "phases_ms": {name: round(took, 3) for name, took in phases.items()},
        "total_ms": [round(took, 3) for took in warm],
    }
    write_json(options.json, whole)
    title = "A warm call of a no-op: what the caller waits"
    latencies.save(warm, options.file("warm_call.png"), title=title, limit_ms=P50_BELOW_MS)
    console.print(f"[dim]figures: {options.json} and {options.results}/warm_call.png[/]\n")

    p50 = figures["p50_ms"]
    promise = script.Promise(
        "S3",
        f"a warm call of a no-op takes less than {P50_BELOW_MS:g} ms (p50 {p50:.2f} ms)",
        p50 < P50_BELOW_MS and len(warm) == len(took_ms),
    )
    return script.verdict(console, [promise], check=options.check)


if __name__ == "__main__":
    script.run(main)
