"""The figures of ``scaling`` as sheets: title, header and rows, for a terminal or for Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import RenderableType

from lab.sheet import Sheet, for_document, for_terminal, times
from rekindle.bench.summary import median, percentile
from rekindle.bench.table import ms, phases_shown
from rekindle.wire.phases import Phase
from restoring import scaling
from restoring.scaling import Figures, SizeFigures


def sheets(figures: Figures) -> list[Sheet]:
    """All that was measured, in the order in which it is read."""
    found = []
    if figures.sizes:
        found += [
            starts(figures.sizes),
            ratios(figures.sizes),
            phases(figures.sizes, scaling.RESTORE),
            phases(figures.sizes, scaling.FORK),
            snapshots(figures.sizes),
        ]
    found += [
        sheet
        for present, sheet in (
            (figures.limits or figures.sizes, limits(figures)),
            (figures.shared, shared(figures)),
            (figures.cold_cache, cold_cache(figures)),
            (figures.at_once, at_once(figures)),
            (figures.embed, embed(figures)),
        )
        if present
    ]
    return found


def render(figures: Figures) -> RenderableType:
    """All sheets and the machine, for a terminal."""
    return for_terminal(sheets(figures), figures.machine, figures.errors)


def markdown(figures: Figures) -> str:
    """All sheets and the machine, for a document."""
    return for_document(sheets(figures), figures.machine, note="Medians of interleaved runs. ")


def starts(sizes: Sequence[SizeFigures]) -> Sheet:
    """What a caller waits for a no-op, by strategy and size."""
    series = (
        scaling.COLD,
        scaling.COPIED,
        scaling.RESTORE,
        scaling.SMALL,
        scaling.FLOOR,
        scaling.FORK,
        scaling.SMALL_FORK,
        scaling.FLOOR_FORK,
        scaling.WARM,
        scaling.BARE_FORK,
    )
    rows = [[name, *(ms(size.p50_ms(name)) for size in sizes)] for name in series]
    for name in (scaling.FORK, scaling.FLOOR, scaling.RESTORE):
        alone = [ms(size.start_ms(name)) for size in sizes]
        rows.insert(_row(rows, name) + 1, ["... of it the start alone", *alone])
    criu = [ms(size.phase_ms(scaling.RESTORE, Phase.RESTORE)) for size in sizes]
    rows.insert(_row(rows, scaling.RESTORE) + 2, ["... of it CRIU", *criu])
    return Sheet(
        "from a call to its first completed no-op, ms",
        _header(sizes),
        rows,
        "What is not of the size was measured again with each size. The start alone: from its "
        "order on the node, without the call's way there and the result's way back.",
    )


def ratios(sizes: Sequence[SizeFigures]) -> Sheet:
    """The same as ratios."""
    pairs = (
        ("restore / restore, no model", scaling.RESTORE, scaling.FLOOR),
        ("restore / restore, smallest", scaling.RESTORE, scaling.SMALL),
        ("restore, copied / restore", scaling.COPIED, scaling.RESTORE),
        ("cold / restore", scaling.COLD, scaling.RESTORE),
        ("fork / fork, no model", scaling.FORK, scaling.FLOOR_FORK),
        ("fork / fork, smallest", scaling.FORK, scaling.SMALL_FORK),
        ("fork / os.fork of an empty Python", scaling.FORK, scaling.BARE_FORK),
    )
    rows = [[name, *(times(size.ratio(one, two)) for size in sizes)] for name, one, two in pairs]
    rows.append(["... the start alone", *(times(_fork_alone(size)) for size in sizes)])
    restores = [size.start_ms(scaling.RESTORE) / size.start_ms(scaling.FLOOR) for size in sizes]
    rows.insert(1, ["... the start alone", *map(times, restores)])
    return Sheet("ratios of medians", _header(sizes), rows)


def phases(sizes: Sequence[SizeFigures], name: str) -> Sheet:
    """The steps of one series, as they are in its median run."""
    shown = [size for size in sizes if size.results.get(name)]
    names = phases_shown([size.results[name] for size in shown])
    rows = [[phase, *(ms(size.phase_ms(name, phase)) for size in shown)] for phase in names]
    return Sheet(f"phases of the median run: {name}, ms", _header(shown), rows)


def snapshots(sizes: Sequence[SizeFigures]) -> Sheet:
    """How the snapshots were made, and what calls noticed of it."""
    made = [(size, size.snapshot) for size in sizes if size.snapshot is not None]
    shown = [snapshot for _size, snapshot in made]
    rows = [
        ["template booted, ms", *(ms(one.boot_ms) for one in shown)],
        ["dump, ms", *(ms(one.dump_ms) for one in shown)],
        ["map, ms", *(ms(one.map_ms) for one in shown)],
        ["hash and sync, ms", *(ms(one.commit_ms) for one in shown)],
        ["pages, MB", *(_megabytes(one.page_bytes) for one in shown)],
        ["on disk, MB", *(_megabytes(one.disk_bytes) for one in shown)],
        ["... of it for mapping, MB", *(_megabytes(one.mapping_bytes) for one in shown)],
    ]
    for name in ("warm", "fork"):
        for when in ("before", "during", "after"):
            taken = [getattr(one, when).get(name, []) for one in shown]
            if any(taken):
                rows.append([f"{name} call {when}, ms", *(ms(median(some)) for some in taken)])
                if when != "before":
                    longest = [ms(max(some, default=math.nan)) for some in taken]
                    rows.append(["... the longest, ms", *longest])
    notes = [
        f"{size.gigabytes:g} GB: {'mapped' if one.mapped else 'not mapped'}, {one.note}."
        for size, one in made
    ]
    return Sheet(
        "making a snapshot, and calls before, during and after its dump",
        _header([size for size, _snapshot in made]),
        rows,
        " ".join(notes),
    )


def limits(figures: Figures) -> Sheet:
    """What the machine can do at best."""
    rows = [[name, ms(median(values))] for name, values in figures.limits.items()]
    bare = [size.p50_ms(scaling.BARE_FORK) for size in figures.sizes]
    if bare:
        rows.append([scaling.BARE_FORK, ms(median(bare))])
    rows += [
        [f"{name}, {size.gigabytes:g} GB", ms(median(values))]
        for size in figures.sizes
        for name, values in size.forks.items()
    ]
    return Sheet("what the machine can do at best, ms", ["", "p50"], rows)


def shared(figures: Figures) -> Sheet:
    """Memory of many runners of one snapshot."""
    rows = []
    if figures.shared is not None:
        one = figures.shared
        rows = [
            ["model", _megabytes(one.model_bytes), ""],
            ["one runner", _megabytes(one.alone_pss_bytes), "1.00"],
            [
                f"{len(one.pss_bytes)} runners together",
                _megabytes(sum(one.pss_bytes)),
                times(one.ratio),
            ],
        ]
    return Sheet("memory of runners that have read all of it (PSS)", ["", "MB", "times"], rows)


def cold_cache(figures: Figures) -> Sheet:
    """First answers with an empty page cache."""
    found = figures.cold_cache
    rows = [
        ["touched, MB", *(_megabytes(one.touched_bytes) for one in found)],
        ["recorded working set, MB", *(_megabytes(one.recorded_bytes) for one in found)],
        ["page cache warm, ms", *(ms(median(one.warm_ms)) for one in found)],
        ["dropped, no working set, ms", *(ms(median(one.without_ms)) for one in found)],
        ["dropped, with it, ms", *(ms(median(one.with_ms)) for one in found)],
        ["reading as much in sequence, ms", *(ms(median(one.read_ms)) for one in found)],
    ]
    header = ["a tenth, " + one.pattern for one in found]
    size = f"{found[0].model_bytes / 1e9:.1f} GB: " if found else ""
    return Sheet(f"{size}restore to the first answer, page cache dropped", ["", *header], rows)


def at_once(figures: Figures) -> Sheet:
    """Starts at the same moment."""
    rows = [
        [
            f"{one.strategy}, {one.what}",
            str(one.at_once),
            str(len(one.took_ms)),
            str(len(one.errors)),
            ms(median(one.took_ms)),
            ms(percentile(one.took_ms, 95)),
            ms(one.cpu_ms),
        ]
        for one in figures.at_once
    ]
    return Sheet(
        "starts at once",
        ["", "at once", "starts", "failed", "p50 ms", "p95 ms", "CPU ms"],
        rows,
    )


def embed(figures: Figures) -> Sheet:
    """A real model."""
    words = {"auto": "mapped", "copied": "copied"}
    rows = [
        ["first call on a node", *(ms(median(one.first_ms)) for one in figures.embed)],
        ["... of it encode", *(ms(median(one.first_execute_ms)) for one in figures.embed)],
        ["second call", *(ms(median(one.second_ms)) for one in figures.embed)],
        ["first call of later restores", *(ms(median(one.again_ms)) for one in figures.embed)],
    ]
    return Sheet(
        "examples/embed.py, restored to its first embedding, ms",
        ["", *(words.get(one.mode, one.mode) for one in figures.embed)],
        rows,
    )


def _fork_alone(size: SizeFigures) -> float:
    return size.start_ms(scaling.FORK) / size.p50_ms(scaling.BARE_FORK)


def _row(rows: list[list[str]], name: str) -> int:
    return next(number for number, row in enumerate(rows) if row[0] == name)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f}" if count >= 10e6 else f"{count / 1e6:.1f}"


def _header(sizes: Sequence[SizeFigures]) -> list[str]:
    return ["", *(f"{size.gigabytes:g} GB" for size in sizes)]
