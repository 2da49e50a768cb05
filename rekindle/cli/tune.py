"""``rekindle tune``: replay arrivals through the sizing policies, and recommend a setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.text import Text

from rekindle.bench import plot as plots
from rekindle.bench.records import write_json
from rekindle.bench.table import ms
from rekindle.bench.tune import article as example
from rekindle.bench.tune import costs, plot
from rekindle.bench.tune import recorded as records
from rekindle.bench.tune.load import FORMATS
from rekindle.bench.tune.outcome import PERCENTILES
from rekindle.bench.tune.search import (
    Recommendation,
)
from rekindle.bench.tune.table import LEGEND, as_json, table
from rekindle.bench.tune.trace import Trace
from rekindle.cli import operator, tables, tune_replay
from rekindle.cli.options import app_named, environment_option
from rekindle.cli.tune_replay import Found, Given, Replay
from rekindle.controller.policies.policy import Prices
from rekindle.exception import InvalidError
from rekindle.sdk import autoscaler
from rekindle.wire.pools import Level

_FILE = click.Path(dir_okay=False, path_type=Path)
_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
#: Columns of a file or a pipe.
_WIDE = 160
#: Percentiles of fewer arrivals are not worth much.
_FEW = 50

Command = TypeVar("Command", bound=Callable[..., Any])


def _price(unit: str, what: str) -> Callable[[Command], Command]:
    """The option of a price, whose default is that of ``Prices``."""
    name = f"{unit}_hour"
    return click.option(
        f"--price-{unit}-hour",
        name,
        type=click.FloatRange(0),
        default=getattr(Prices(), name),
        show_default=True,
        help=f"Of {what}.",
    )


@click.command()
@environment_option
@click.argument("function", metavar="[APP.FUNCTION]", required=False)
@click.option("--trace", "trace_file", type=_EXISTING, help="Replay this trace file.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="Its format (default: by its header). csv: timestamp[,duration[,function]].",
)
@click.option(
    "--recorded", type=_EXISTING, help="Replay an export of what was recorded (see --export)."
)
@click.option("--export", type=_FILE, help="Write what is recorded of APP.FUNCTION, and stop.")
@click.option("--article", is_flag=True, help="Recompute the example of docs/tuning.md, and stop.")
@click.option(
    "--policy", "names", multiple=True, help="Try only this policy; may be given several times."
)
@click.option(
    "--latency-target-ms",
    "target_ms",
    default=500.0,
    show_default=True,
    type=click.FloatRange(0),
    help="What the start latency may be at the percentile.",
)
@click.option(
    "--percentile",
    type=click.Choice(list(map(str, PERCENTILES))),
    callback=lambda _context, _option, value: int(value),
    default="95",
    show_default=True,
    help="Of the start latency: what the target and the plot are about.",
)
@_price("gib", "memory")
@_price("gpu", "a GPU")
@_price("cpu", "CPU time of starts")
@click.option(
    "--memory-gib", type=click.FloatRange(0, min_open=True), help="The node's budget (no limit)."
)
@click.option(
    "--max-runners",
    type=click.IntRange(1),
    help="Runners of the node at most (of APP.FUNCTION: as the agents have it).",
)
@click.option(
    "--costs",
    metavar="FILE|JSON",
    help='Starts and sizes of the levels: {"warm": {"memory_mib": 44}, "none": {"start_ms": ...}}.',
)
@click.option(
    "--service-ms",
    default=100.0,
    show_default=True,
    type=click.FloatRange(0),
    help="How long an input runs, where the trace does not say.",
)
@click.option("--gpus", default=0.0, type=click.FloatRange(0), help="GPUs that a runner holds.")
@click.option("--only", metavar="PREFIX", help="Functions of the trace whose name begins so.")
@click.option(
    "--functions",
    "most",
    default=100,
    show_default=True,
    type=click.IntRange(1),
    help="At most so many functions of the trace, the first ones.",
)
@click.option("--plot", "plot_file", type=_FILE, help="Draw latency against cost to this file.")
@click.option("--json", "json_file", type=_FILE, help="Write all figures to this file.")
@click.option("--apply", "apply_", is_flag=True, help="Put the setting in force for APP.FUNCTION.")
def tune(**options: Any) -> int:
    """Replay the arrivals of APP.FUNCTION, or of a trace, through the sizing policies.

    Shows for each policy and setting how calls would have started, how long they would have waited,
    what would have been held and what that costs, and recommends the cheapest that meets the
    latency target. The simulator runs the policies' own code. Options: docs/tuning.md.

    \b
    rekindle tune shop.embed --latency-target-ms 100 --plot embed.png --apply
    rekindle tune --trace arrivals.csv --costs costs.json
    """
    console = tables.console(_WIDE)
    if options["function"] is not None:
        options["function"] = app_named(options["function"])
    given = Given(**options)
    function, trace_file, recorded = given.function, given.trace_file, given.recorded
    if given.article:
        return _article(console, given.json_file)
    if given.export is not None:
        return _export(console, function, given.export)
    if trace_file is not None and recorded is not None:
        raise click.UsageError("--trace and --recorded: one of them")
    if function is None and trace_file is None and recorded is None:
        raise click.UsageError("what should be replayed: APP.FUNCTION, --trace or --recorded?")
    if given.plot_file is not None:
        plots.load_pyplot()  # before the work, not after
    found = tune_replay.find(given)
    if given.apply_ and found.function is None:
        raise click.UsageError("--apply needs APP.FUNCTION: a trace names no function of yours")
    replay = tune_replay.replay(console, found, given)
    _show(console, replay)
    if given.plot_file is not None:
        _plot(replay, given.plot_file)
    if given.json_file is not None:
        _write(replay, given.json_file)
    if given.apply_:
        _apply(console, found, replay.chosen)
    elif found.function is not None and replay.chosen.meets_target:
        console.print(Text("--apply puts it in force", "dim"))
    return 0 if replay.chosen.meets_target else 1


def _export(console: Console, function: str | None, path: Path) -> int:
    """Write the record of a function to a file, for --recorded."""
    if function is None:
        raise click.UsageError("--export needs APP.FUNCTION")
    records.write(tune_replay.recorded(operator.connect(), function), path)
    console.print(f"{path}: what is recorded of {function}")
    return 0


def _show(console: Console, replay: Replay) -> None:
    """The table of all settings, and which to take."""
    found, chosen = replay.found, replay.chosen
    console.print(replay.title)
    console.print(Text(_costs(found.trace, found.source), "dim"), soft_wrap=True)
    if replay.tried[0].outcome.calls < _FEW:
        console.print(Text(f"fewer than {_FEW} arrivals: the figures say little", "yellow"))
    many = len(found.trace.functions) > 1
    console.print(table(replay.tried, replay.front, chosen, title="", even=many))
    console.print(Text(f"{LEGEND}\n", "dim"))
    mark = "take" if chosen.meets_target else "nearest"
    taken = Text(f"{mark}: {chosen.tried.label}", "bold green")
    console.print(taken + Text(f": {chosen.why}"), soft_wrap=True)


def _costs(trace: Trace, source: str) -> str:
    """The start costs that were taken, of the first function."""
    found = trace.functions[0].levels
    levels = {level: found[level] for level in Level if level in found}  # as they stand there
    starts = ", ".join(
        f"{level.value} {ms(1000 * figures.start_s)} ms"
        for level, figures in levels.items()
        if level is not Level.WARM
    )
    held = ", ".join(
        f"{level.value} {figures.memory_bytes / 2**20:,.0f}"
        for level, figures in levels.items()
        if figures.memory_bytes
    )
    return f"start from {starts}; held MiB: {held} ({source})"


def _plot(replay: Replay, path: Path) -> None:
    given = replay.given
    plot.save(
        replay.tried,
        replay.front,
        path,
        title=replay.title,
        percentile=given.percentile,
        target_ms=given.target_ms,
        chosen=replay.chosen,
        note=f"prices: {given.gib_hour:g} a GiB-hour, {given.gpu_hour:g} a GPU-hour, "
        f"{given.cpu_hour:g} a CPU-hour (of starts)",
    )


def _write(replay: Replay, path: Path) -> None:
    found, given, chosen = replay.found, replay.given, replay.chosen
    whole = {
        "replayed": found.what,
        "functions": len(found.trace.functions),
        "duration_s": found.trace.duration_s,
        "prices": dataclasses.asdict(given.prices),
        "levels": costs.levels_to_json(found.trace.functions[0].levels),
        "levels_source": found.source,
        "latency_target_ms": given.target_ms,
        "percentile": given.percentile,
        "settings": as_json(replay.tried, replay.front),
        "recommended": {
            **chosen.tried.setting.to_dict(),
            "label": chosen.tried.label,
            "meets_target": chosen.meets_target,
            "why": chosen.why,
        },
    }
    write_json(path, whole)


def _article(console: Console, json_file: Path | None) -> int:
    """The worked example: each figure as claimed, by closed form and simulated."""
    with console.status("simulating"):
        rows = example.rows()
    verdicts = example.verdicts(Prices())
    console.print(example.table(rows))
    what = f"simulated: Poisson arrivals, {example.DAYS} days, the mean of a day\n"
    console.print(Text(what, "dim"))
    for text in verdicts:
        console.print(f"- {text}", soft_wrap=console.width >= _WIDE)
    if json_file is not None:
        write_json(json_file, {"rows": example.as_json(rows), "verdicts": verdicts})
    return 0


def _apply(console: Console, found: Found, chosen: Recommendation) -> None:
    """Put the recommended setting in force, on the instance that is up."""
    setting = chosen.tried.setting
    assert found.function is not None
    if not chosen.meets_target:
        raise InvalidError(
            f"nothing was put in force: {chosen.why}. Give the target that is good enough "
            "(--latency-target-ms)"
        )
    if setting.current:
        console.print(f"{found.function}: already in force")
        return
    wanted = {"policy": setting.policy, "options": setting.parameters, **setting.overrides}
    autoscaler.set_by_name(operator.connect(), found.function, **wanted)
    console.print(f"{found.function}: in force now: {setting.label}; `rekindle pool ls` shows it")
