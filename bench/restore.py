"""Restores and forks against the size of the model: what they cost, and what they depend on.

    .venv/bin/python bench/restore.py [--quick] [--json FILE] [--check] [--results DIR]

Builds models of 0.1 to 4 GB and starts each of them by mapping its snapshot, by copying it, by
forking a restored template and cold, next to a function without any model and to what the
machine can do at best; then memory, cold page cache, many starts at once, and a real model.
Needs root (as restores do), 24 GiB of memory, 20 GB of disk under /var/tmp, and PyTorch.
With --check it ends with 1 where a promise of SPECIFICATION.md is not kept.
"""

from __future__ import annotations

from pathlib import Path

from lab import script
from lab.steps import Steps, steps
from rekindle.bench import machine as machines
from rekindle.bench.records import write_json
from restoring import (
    at_once,
    chart,
    cold_cache,
    embedding,
    instance,
    probes,
    promises,
    scaling,
    sharing,
    sheets,
    sizes,
)
from restoring.scaling import Figures

SIZES_GB, QUICK_SIZES_GB = (0.1, 0.5, 1.0, 2.0, 4.0), (0.1, 0.5)
#: The size whose memory and cold page cache are looked at.
LOOKED_AT_GB, QUICK_LOOKED_AT_GB = 2.0, 0.5
SHARING_RUNNERS = promises.SHARED_RUNNERS
CONCURRENT = promises.CONCURRENT

RUNS = sizes.Runs(quick=10, slow=5, cold=3, calls=10)
QUICK_RUNS = sizes.Runs(quick=3, slow=2, cold=1, calls=3)
COLD_CACHE_RUNS, QUICK_COLD_CACHE_RUNS = 3, 1
EMBED_RUNS, QUICK_EMBED_RUNS = 5, 1
LIMIT_RUNS = 20
#: Starts at once -> how often.
ROUNDS, QUICK_ROUNDS = {1: 20, 8: 4, 24: 2}, {1: 3, 8: 1, 24: 1}

#: Numbers of SPECIFICATION.md.
PROMISES = {
    "S6": promises.restore_is_flat,
    "S7": promises.restore_is_faster,
    "S8": promises.fork_is_flat,
    "S9": promises.memory_is_shared,
    "S10": promises.concurrent_restores_succeed,
}


def main() -> int:
    """Measure and show; 1 for failed runs, or with --check for a promise not kept."""
    options = script.options("restore", __doc__.splitlines()[0])
    console = script.console()
    figures = Figures(machine=machines.describe())
    with steps(console) as progress, instance.home() as home:
        _measure(figures, home, options.quick, progress)

    console.print(sheets.render(figures))
    write_json(options.json, {"quick": options.quick, **figures.to_dict()})
    options.file("restore.md").write_text(sheets.markdown(figures), encoding="utf-8")
    chart.save(figures, options.file("restore.png"))
    console.print(f"\n[dim]figures: {options.json} and {options.results}/restore.{{md,png}}[/]\n")

    checked = script.checked(PROMISES, figures)
    kept = script.verdict(console, checked, check=options.check)
    return 1 if figures.errors else kept


def _measure(figures: Figures, home: Path, quick: bool, progress: Steps) -> None:
    progress.part("What the machine can do at best")
    _limits(figures, progress)
    for gigabytes in QUICK_SIZES_GB if quick else SIZES_GB:
        _size(figures, home, gigabytes, quick, progress)
    progress.part("examples/embed.py")
    figures.embed = embedding.measure(home, QUICK_EMBED_RUNS if quick else EMBED_RUNS, progress)


def _limits(figures: Figures, progress: Steps) -> None:
    for make, name in ((probes.execs, scaling.EXEC), (probes.criu_restores, scaling.SLEEP)):
        progress.say(name)
        with make(name) as probe:
            probe.ask()
            figures.limits[name] = [probe.ask() for _ in range(LIMIT_RUNS)]


def _size(figures: Figures, home: Path, gigabytes: float, quick: bool, progress: Steps) -> None:
    """All that is done with a snapshot of one size; it is removed then, but for the smallest."""
    every = QUICK_SIZES_GB if quick else SIZES_GB
    smallest, largest = min(every), max(every)
    runs = QUICK_RUNS if quick else RUNS
    progress.part(f"A model of {gigabytes:g} GB")
    made = sizes.make_snapshot(home, gigabytes, runs, progress)
    with sizes.place(home, gigabytes, smallest) as place:
        found = sizes.measure(place, gigabytes, runs, progress)
        found.snapshot = made
        figures.sizes.append(found)
        if gigabytes == (QUICK_LOOKED_AT_GB if quick else LOOKED_AT_GB):
            figures.shared = sharing.measure(place, SHARING_RUNNERS, progress)
        snapshot = sizes.of_size(home, gigabytes)
    if gigabytes == largest:
        with sizes.place(home, gigabytes, smallest, copied=False) as place:
            _many_at_once(figures, place, gigabytes, smallest, quick, progress)
    if gigabytes == (QUICK_LOOKED_AT_GB if quick else LOOKED_AT_GB):
        progress.part(f"Page cache dropped, {gigabytes:g} GB")
        times = QUICK_COLD_CACHE_RUNS if quick else COLD_CACHE_RUNS
        figures.cold_cache = cold_cache.measure(home, gigabytes, snapshot, times, progress)
    if gigabytes != smallest:
        sizes.forget(home, gigabytes)
    sizes.fork_limits(found, runs.quick, progress)


def _many_at_once(
    figures: Figures,
    place: sizes.Place,
    gigabytes: float,
    smallest: float,
    quick: bool,
    progress: Steps,
) -> None:
    progress.part("Starts at once")
    rounds = QUICK_ROUNDS if quick else ROUNDS
    node = place.mapped
    chosen = [("no model", place.models.nothing)]
    made = figures.sizes[-1].snapshot
    if made is not None and made.mapped:  # copies of a large model would not fit into memory
        chosen.append((f"{gigabytes:g} GB", place.model.nothing))
    for what, function in chosen:
        figures.at_once += at_once.measure(node, what, function, rounds, progress)
    figures.at_once.append(
        at_once.restores(node, f"{smallest:g} GB", place.small.nothing, CONCURRENT, progress)
    )


if __name__ == "__main__":
    script.run(main)
