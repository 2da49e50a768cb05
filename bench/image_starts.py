"""A start in an image beside one without: what layers, a root and a /dev of one's own cost.

.venv/bin/python bench/image_starts.py [--quick] [--json FILE] [--check] [--results DIR]

The layers are on this machine already (made before anything is measured). Both functions do
nothing, have a template and a snapshot, and run by the same release of Python. Each start is made
by a strategy that is asked for; the two take turns. Their code goes by value, as no image has what
this script imports.
"""

from __future__ import annotations

import sys
import time

from rich.table import Table

import rekindle
from lab import script
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json
from rekindle.bench.summary import percentile
from rekindle.bench.table import ms
from rekindle.exception import StrategyUnavailableError
from rekindle.sdk.running import ask_strategy

STARTS, QUICK_STARTS = {"spare": 40, "fork": 40, "restore": 40, "cold": 10}, 12
#: Promised in SPECIFICATION.md, of medians; a cold start also reads files by way of the layers.
AT_MOST = {"spare": 1.05, "fork": 1.05, "restore": 1.05}
#: For what a start makes ahead for the next one.
PAUSE_S = 0.15
PATIENCE_S = 60.0

image = rekindle.Image.debian_slim(".".join(map(str, sys.version_info[:2])))
app = rekindle.App("image-starts")


@app.function(enable_memory_snapshot=True, single_use_containers=True, serialized=True)
def without() -> None:
    """Do nothing."""


@app.function(enable_memory_snapshot=True, single_use_containers=True, serialized=True, image=image)
def in_image() -> None:
    """The same."""


def main() -> int:
    """Measure and show; 1 for a promise not kept."""
    options = script.options("image_starts", __doc__.splitlines()[0])
    console = script.console()
    functions = {"without": without, "in_image": in_image}
    took: dict[str, dict[str, list[float]]] = {}
    with app.run():
        for function in functions.values():
            function.remote()
            _wait_for_snapshot(function)
        for strategy, count in STARTS.items():
            found = took[strategy] = {name: [] for name in functions}
            for turn in range(min(count, QUICK_STARTS) if options.quick else count):
                for name in sorted(functions, reverse=bool(turn % 2)):
                    time.sleep(PAUSE_S)
                    with ask_strategy(strategy):
                        began = time.perf_counter_ns()
                        functions[name].remote()
                        found[name].append((time.perf_counter_ns() - began) / 1e6)
    ratios = {
        strategy: percentile(found["in_image"], 50) / percentile(found["without"], 50)
        for strategy, found in took.items()
    }
    table = Table(title="a start in an image, from .remote() to None", title_justify="left")
    for column in ("strategy", "ratio of medians", "without, ms", "in an image, ms", "starts"):
        table.add_column(column, justify="left" if column == "strategy" else "right")
    for strategy, found in took.items():
        medians = [ms(percentile(found[name], 50)) for name in functions]
        table.add_row(strategy, f"{ratios[strategy]:.2f}", *medians, str(len(found["without"])))
    console.print(table)
    machine = machines.describe()
    console.print(f"[dim]{machines.line(machine)}[/]")
    write_json(options.json, {"machine": machine, "ratios": ratios, "total_ms": took})
    worst = max(AT_MOST, key=lambda name: ratios[name] / AT_MOST[name])
    promise = script.Promise(
        "R5",
        f"a start in an image takes at most {AT_MOST[worst]:g} times one without "
        f"({worst}: {ratios[worst]:.2f})",
        ratios[worst] <= AT_MOST[worst],
    )
    return script.verdict(console, [promise], check=options.check)


def _wait_for_snapshot(function: rekindle.Function[[], None]) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            with ask_strategy("restore"):
                function.remote()
            return
        except StrategyUnavailableError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


if __name__ == "__main__":
    script.run(main)
