"""The figures as sheets, ratios first."""

from __future__ import annotations

import math

from rich.console import RenderableType

from lab.sheet import Sheet, for_document, for_terminal, times
from rekindle.bench.summary import median, percentile
from rekindle.bench.table import mebibytes, ms
from starting.figures import Figures, StartFigures, mean
from starting.strategies import RESTORE


def sheets(figures: Figures) -> list[Sheet]:
    """All that was measured, in the order in which it is read."""
    return [
        sheet
        for present, sheet in (
            (figures.starts, starts(figures)),
            (figures.starts, phases(figures)),
            (figures.cpu, cpu(figures)),
            (figures.bursts, bursts(figures)),
            (figures.fresh, fresh(figures)),
            (figures.spares, spares(figures)),
            (figures.endurance, endurance(figures)),
            (figures.shell, shell(figures)),
        )
        if present
    ]


def render(figures: Figures) -> RenderableType:
    """All sheets and the machine, for a terminal."""
    return for_terminal(sheets(figures), figures.machine, figures.errors)


def markdown(figures: Figures) -> str:
    """All sheets and the machine, for a document."""
    return for_document(sheets(figures), figures.machine)


def _floor_ms(figures: Figures, strategy: str) -> float:
    return median(figures.sleep_ms) if strategy == RESTORE else figures.bare_ms


def starts(figures: Figures) -> Sheet:
    """One at a time."""
    rows = []
    for one in figures.starts:
        p50 = median(one.first_ms)
        rows.append(
            [
                f"{one.strategy}, {one.kind}",
                times(p50 / _floor_ms(figures, one.strategy)),
                ms(p50),
                ms(percentile(one.first_ms, 95)),
                times(one.after),
                times(one.to_rested),
                str(len(one.runs)),
                str(len(one.errors)),
            ]
        )
    bare = [one.ms for one in figures.bare]
    for name, took in (
        ("os.fork and exit of an empty Python", bare),
        ("CRIU's command line restores sleep", figures.sleep_ms),
    ):
        row = [name, "1.00", ms(median(took)), ms(percentile(took, 95)), "", "", str(len(took)), ""]
        rows.append(row)
    return Sheet(
        "from .remote() to the result, no runner idle",
        [
            "",
            "to floor",
            "p50 ms",
            "p95 ms",
            "2nd call to later",
            "to a rested one",
            "runs",
            "failed",
        ],
        rows,
        "The floor of a restore is CRIU's command line, that of the others the bare fork, all of "
        "them in turn. The 2nd call follows at once, the later ones after it: medians. A rested "
        "one comes after a pause of 50 ms: as the 2nd, it finds nothing in the processor's caches.",
    )


def phases(figures: Figures) -> Sheet:
    """Where the time of a start goes."""
    shown: list[tuple[StartFigures, dict[str, float]]] = [
        (one, one.phases_ms) for one in figures.starts if one.runs
    ]
    names = dict.fromkeys(name for _, found in shown for name in found)
    rows = [[name, *(ms(found.get(name, 0.0)) for _, found in shown)] for name in names]
    return Sheet(
        "phases of a start, ms (medians of each)",
        ["", *(f"{one.strategy}, {one.kind}" for one, _ in shown)],
        rows,
    )


def cpu(figures: Figures) -> Sheet:
    """Processor time."""
    rows = [
        [
            f"{one.strategy}, {one.kind}",
            times(one.ratio),
            ms(one.total_ms),
            ms(one.client_ms),
            *(ms(one.daemons_ms.get(role, 0.0)) for role in ("agent", "controller", "redis")),
            ms(one.instance_ms - sum(one.daemons_ms.values())),
            ms(mean(one.bare_ms)),
            str(one.starts),
        ]
        for one in figures.cpu
    ]
    how = figures.cpu[0].counted if figures.cpu else ""
    return Sheet(
        "processor time of a start and of the end of its runner, all processes",
        [
            *("", "to bare fork", "CPU ms", "client", "agent", "controller", "redis", "others"),
            *("bare fork", "starts"),
        ],
        rows,
        f"Counted by {how}; what the instance uses when it is idle, and for runners that sleep, is "
        "taken off.",
    )


def bursts(figures: Figures) -> Sheet:
    """At once."""
    rows = [
        [
            f"{one.strategy}, {one.kind}",
            str(one.at_once),
            times(median(one.took_ms) / figures.bare_ms),
            ms(median(one.took_ms)),
            ms(percentile(one.took_ms, 95)),
            ms(median(one.bare_ms)),
            ", ".join(f"{number} {name}" for name, number in sorted(one.served.items())),
            str(len(one.errors)),
        ]
        for one in figures.bursts
    ]
    return Sheet(
        "starts at once",
        ["", "at once", "p50 to bare fork", "p50 ms", "p95 ms", "bare forks ms", "by", "failed"],
        rows,
        "Bare forks: as many children of an empty Python in a row, median of their ends.",
    )


def fresh(figures: Figures) -> Sheet:
    """A process for every input."""
    rows = []
    one = figures.fresh
    if one is not None:
        floor = median(one.floor_per_s)
        for rate in (one.ours, one.pool, *one.tried):
            pool = rate.per_second / one.pool.per_second if one.pool.per_second else math.nan
            rows.append(
                [
                    f"{rate.form}{', ' + ' and '.join(rate.served) if rate.served else ''}",
                    times(pool),
                    times(rate.per_second / floor),
                    f"{rate.per_second:.0f}",
                    f"{rate.inputs:,}",
                    "; ".join(rate.errors) or "-",
                ]
            )
        rows[0][0], rows[1][0] = f"**rekindle**: {rows[0][0]}", f"**pool**: {rows[1][0]}"
        bare = f"bare forks on {one.cores} cores"
        rows.append([bare, times(floor / one.pool.per_second), "1.00", f"{floor:.0f}", "", "-"])
    return Sheet(
        "a fresh process for every input, PyTorch preloaded",
        ["", "to the pool", "to bare forks", "a second", "inputs", "failed"],
        rows,
        f"The first two for {one.seconds:g} s, in the form that was quickest when it was tried "
        "shortly."
        if one is not None
        else "",
    )


def spares(figures: Figures) -> Sheet:
    """Memory of spares."""
    rows = [
        [one.kind, mebibytes(round(median(one.pss_bytes))), mebibytes(round(one.added_bytes))]
        for one in figures.spares
    ]
    return Sheet(
        "memory of a spare that waits, MiB",
        ["", "its share (PSS)", "the instance has more"],
        rows,
    )


def endurance(figures: Figures) -> Sheet:
    """Thousands in a row."""
    rows = []
    for one in figures.endurance:
        grown = sorted(one.growth_bytes.items(), key=lambda item: -item[1])[:2]
        rows.append(
            [
                one.strategy,
                f"{one.starts:,}",
                str(len(one.errors)),
                ", ".join(f"{number} {name}" for name, number in one.left.items()) or "nothing",
                ", ".join(f"{role} {held / 2**20:+.1f}" for role, held in grown),
                f"{one.starts / one.seconds:.0f}" if one.seconds else "-",
            ]
        )
    return Sheet(
        "starts in a row",
        ["", "starts", "failed", "left", "grew most, MiB", "a second"],
        rows,
    )


def shell(figures: Figures) -> Sheet:
    """From the shell."""
    rows = []
    if (found := figures.shell) is not None:
        empty = found.python.median_ms
        torch = found.torch.median_ms if found.torch is not None else math.nan
        for name, samples in (
            ("rekindle run, the first", found.first),
            ("rekindle run, the second", found.second),
            ("python -c pass", found.python),
            ('python -c "import torch"', found.torch),
        ):
            if samples is not None:
                took = samples.median_ms
                cpu_ms = ms(median(samples.cpu_ms))
                rows.append([name, times(took / empty), times(took / torch), ms(took), cpu_ms])
    return Sheet(
        "rekindle run examples/hello.py from the shell, whole process",
        ["", "to python -c pass", "to import torch", "p50 ms", "CPU ms"],
        rows,
        "CPU: of the process, without what an instance that was there does for it.",
    )
