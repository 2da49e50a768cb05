"""``rekindle tune``: replay arrivals through the sizing policies, and recommend a setting."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from rekindle.bench import plot as plots
from rekindle.bench.records import write_json
from rekindle.bench.table import ms
from rekindle.bench.tune import article as example
from rekindle.bench.tune import costs, plot
from rekindle.bench.tune import recorded as records
from rekindle.bench.tune.load import FORMATS, load
from rekindle.bench.tune.outcome import PERCENTILES
from rekindle.bench.tune.pools import Node
from rekindle.bench.tune.search import (
    Recommendation,
    Tried,
    pareto,
    recommend,
    try_all,
    with_spares,
)
from rekindle.bench.tune.settings import Setting, candidates, spare_counts
from rekindle.bench.tune.table import LEGEND, as_json, table
from rekindle.bench.tune.trace import Trace
from rekindle.cli import operator, tables
from rekindle.controller.policies import REGISTRY
from rekindle.controller.policies.policy import GIB, Prices
from rekindle.exception import InvalidError
from rekindle.sdk import autoscaler
from rekindle.sdk.connection.client import Client
from rekindle.wire import rekindle_pb2 as pb
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
    given = _Given(**options)
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
    found = _load(given)
    if given.apply_ and found.function is None:
        raise click.UsageError("--apply needs APP.FUNCTION: a trace names no function of yours")
    replay = _replay(console, found, given)
    _show(console, replay)
    if given.plot_file is not None:
        _plot(replay, given.plot_file)
    if given.json_file is not None:
        _write(replay, given.json_file)
    if given.apply_:
        _apply(console, found, replay.chosen)
    elif found.function is not None:
        console.print("[dim]--apply puts it in force[/]")
    return 0 if replay.chosen.meets_target else 1


@dataclass(frozen=True)
class _Given:
    """The options."""

    function: str | None
    trace_file: Path | None
    format_: str | None
    recorded: Path | None
    export: Path | None
    article: bool
    names: tuple[str, ...]
    target_ms: float
    percentile: int
    gib_hour: float
    gpu_hour: float
    cpu_hour: float
    memory_gib: float | None
    max_runners: int | None
    costs: str | None
    service_ms: float
    gpus: float
    only: str | None
    most: int
    plot_file: Path | None
    json_file: Path | None
    apply_: bool

    @property
    def prices(self) -> Prices:
        return Prices(gib_hour=self.gib_hour, gpu_hour=self.gpu_hour, cpu_hour=self.cpu_hour)


@dataclass(frozen=True)
class _Found:
    """What is replayed."""

    trace: Trace
    what: str
    source: str  # of the costs
    function: str | None
    now: Setting | None
    max_runners: int | None = None


@dataclass(frozen=True)
class _Replay:
    """What came of it."""

    found: _Found
    given: _Given
    tried: list[Tried]
    front: list[Tried]
    chosen: Recommendation

    @property
    def title(self) -> str:
        """What was replayed, in a line."""
        trace = self.found.trace
        count = len(trace.functions)
        of = "" if count == 1 else f" of {count} functions"
        arrivals = self.tried[0].outcome.calls
        return f"{self.found.what}: {arrivals:,} arrivals{of} over {_lasted(trace.duration_s)}"


def _load(given: _Given) -> _Found:
    function = given.function
    record: pb.RecordedReply | None = None
    runners = given.max_runners
    if given.recorded is not None:
        record = records.read(given.recorded)
    elif function is not None:
        client = operator.connect()
        record = _recorded(client, function)
        agents = operator.report(client, pools=False).agents
        runners = runners or sum(agent.max_runners for agent in agents) or None
    if given.costs is not None:
        levels, source = costs.read_levels(given.costs), "--costs"
    elif record is not None:
        levels, source = records.levels_of(record), records.source_of(record)
    else:
        levels, source = costs.levels(), costs.SOURCE
    if given.gpus and Level.WARM in levels:  # without it no trace is made: that error says so
        levels[Level.WARM] = dataclasses.replace(levels[Level.WARM], gpus=given.gpus)
    now = settings = None
    if record is not None:
        function = function or record.function
        now, settings = records.in_force(record), records.settings_of(record)
    if given.trace_file is None:
        assert record is not None
        trace: Trace = records.trace_of(record, levels)
        return _Found(trace, f"recorded of {function}", source, function, now, runners)
    trace = load(
        given.trace_file,
        levels,
        settings,
        format_=given.format_,
        service_s=given.service_ms / 1000,
        only=given.only,
        most=given.most,
    )
    return _Found(trace, str(given.trace_file), source, function, now, runners)


def _recorded(client: Client, function: str) -> pb.RecordedReply:
    wanted = pb.RecordedRequest(function=function)
    return operator.request(client, "Recorded", wanted, pb.RecordedReply)


def _export(console: Console, function: str | None, path: Path) -> int:
    """Write the record of a function to a file, for --recorded."""
    if function is None:
        raise click.UsageError("--export needs APP.FUNCTION")
    records.write(_recorded(operator.connect(), function), path)
    console.print(f"{path}: what is recorded of {function}")
    return 0


def _replay(console: Console, found: _Found, given: _Given) -> _Replay:
    percentile = given.percentile
    settings = candidates(
        given.names or tuple(name for name in REGISTRY if name != "declared"),
        found.trace,
        target_ms=given.target_ms,
        quantile=percentile / 100,
        prices=given.prices,
    )
    if found.now is not None:
        settings.insert(0, found.now)
    node = Node(
        memory_bytes=math.inf if given.memory_gib is None else given.memory_gib * GIB,
        max_runners=found.max_runners or math.inf,
        paced=True,
    )
    with console.status("replaying") as status:

        def replay(settings: list[Setting]) -> list[Tried]:
            return try_all(
                found.trace,
                settings,
                given.prices,
                node,
                lambda text: status.update(f"replaying: {text}"),
            )

        tried = replay(settings)
        chosen = recommend(tried, target_ms=given.target_ms, percentile=percentile)
        counted = replay(spare_counts(chosen.tried.setting, found.trace))
    tried += counted
    chosen = with_spares(
        chosen, counted, given.prices, target_ms=given.target_ms, percentile=percentile
    )
    return _Replay(found, given, tried, pareto(tried, percentile), chosen)


# ---- what is shown and written -----------------------------------------------------------------


def _show(console: Console, replay: _Replay) -> None:
    """The table of all settings, and which to take."""
    found, chosen = replay.found, replay.chosen
    console.print(replay.title, markup=False)
    console.print(f"[dim]{_costs(found.trace, found.source)}[/]", soft_wrap=True)
    if replay.tried[0].outcome.calls < _FEW:
        console.print(f"[yellow]fewer than {_FEW} arrivals: the figures say little[/]")
    many = len(found.trace.functions) > 1
    console.print(table(replay.tried, replay.front, chosen, title="", even=many))
    console.print(f"[dim]{LEGEND}[/]\n")
    mark = "take" if chosen.meets_target else "nearest"
    console.print(f"[bold green]{mark}: {chosen.tried.label}[/]: {chosen.why}", soft_wrap=True)


def _lasted(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:.3g} s"


def _costs(trace: Trace, source: str) -> str:
    """The start costs that were taken, of the first function."""
    levels = trace.functions[0].levels
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


def _plot(replay: _Replay, path: Path) -> None:
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


def _write(replay: _Replay, path: Path) -> None:
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
    console.print(f"[dim]simulated: Poisson arrivals, {example.DAYS} days, the mean of a day[/]\n")
    for text in verdicts:
        console.print(f"- {text}", soft_wrap=console.width >= _WIDE)
    if json_file is not None:
        write_json(json_file, {"rows": example.as_json(rows), "verdicts": verdicts})
    return 0


def _apply(console: Console, found: _Found, chosen: Recommendation) -> None:
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
