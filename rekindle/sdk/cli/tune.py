"""``rekindle tune``: replay arrivals through the sizing policies, and recommend a setting."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rekindle.exception import InvalidError

if TYPE_CHECKING:
    from rich.console import Console

    from rekindle.bench.tuning.recorded import Recorded
    from rekindle.bench.tuning.search import Recommendation, Tried
    from rekindle.bench.tuning.settings import Setting
    from rekindle.bench.tuning.trace import Trace
    from rekindle.controller.policies import Prices

_FILE = click.Path(dir_okay=False, path_type=Path)
_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("function", metavar="[APP.FUNCTION]", required=False)
@click.option("--trace", "trace_file", type=_EXISTING, help="Replay this trace file.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["azure2019", "azure2021", "csv"]),
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
    type=click.Choice(["50", "95", "99"]),
    default="95",
    show_default=True,
    help="Of the start latency: what the target and the plot are about.",
)
@click.option("--price-gib-hour", type=click.FloatRange(0), help="Of memory (0.004445).")
@click.option("--price-gpu-hour", type=click.FloatRange(0), help="Of a GPU (2).")
@click.option("--price-cpu-hour", type=click.FloatRange(0), help="Of CPU time of starts (0.04048).")
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
def tune(
    function: str | None,
    trace_file: Path | None,
    recorded: Path | None,
    export: Path | None,
    article: bool,
    plot_file: Path | None,
    json_file: Path | None,
    apply_: bool,
    **options: Any,
) -> int:
    """Replay the arrivals of APP.FUNCTION, or of a trace, through the sizing policies.

    Shows for each policy and setting how calls would have started, how long they would have waited,
    what would have been held and what that costs, and recommends the cheapest that meets the
    latency target. The simulator runs the policies' own code. Options: docs/tuning.md.

    \b
    rekindle tune shop.embed --latency-target-ms 100 --plot embed.png --apply
    rekindle tune --trace arrivals.csv --costs costs.json
    """
    from rich.console import Console

    from rekindle.bench import plot as plots
    from rekindle.sdk.cli import tune_show

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = tune_show.WIDE
    if article:
        return tune_show.article(console, json_file)
    if export is not None:
        return _export(console, function, export)
    if trace_file is not None and recorded is not None:
        raise click.UsageError("--trace and --recorded: one of them")
    if function is None and trace_file is None and recorded is None:
        raise click.UsageError("what should be replayed: APP.FUNCTION, --trace or --recorded?")
    if plot_file is not None:
        plots.check_available()  # before the work, not after
    given = _Given(**options)
    found = _load(function, trace_file, recorded, given)
    if apply_ and found.function is None:
        raise click.UsageError("--apply needs APP.FUNCTION: a trace names no function of yours")
    tried, front, chosen = _try(console, found, given)
    tune_show.show(console, found.trace, found.what, found.source, tried, front, chosen)
    if plot_file is not None:
        _plot(found, tried, front, chosen, given, plot_file)
    if json_file is not None:
        _write(found, tried, front, chosen, given, json_file)
    if apply_:
        _apply(console, found, chosen)
    elif found.function is not None:
        console.print("[dim]--apply puts it in force[/]")
    return 0 if chosen.meets_target else 1


@dataclass(frozen=True)
class _Given:
    """The options about what is tried, and at what prices."""

    format_: str | None
    names: tuple[str, ...]
    target_ms: float
    percentile: str
    price_gib_hour: float | None
    price_gpu_hour: float | None
    price_cpu_hour: float | None
    memory_gib: float | None
    max_runners: int | None
    costs: str | None
    service_ms: float
    gpus: float
    only: str | None
    most: int

    @property
    def prices(self) -> Prices:
        from rekindle.controller.policies import Prices

        given = {
            "gib_hour": self.price_gib_hour,
            "gpu_hour": self.price_gpu_hour,
            "cpu_hour": self.price_cpu_hour,
        }
        return Prices(**{name: price for name, price in given.items() if price is not None})


@dataclass(frozen=True)
class _Found:
    """What is replayed."""

    trace: Trace
    what: str
    source: str  # of the costs
    function: str | None
    now: Setting | None
    max_runners: int | None = None


def _load(
    function: str | None, trace_file: Path | None, recorded: Path | None, given: _Given
) -> _Found:
    import dataclasses

    from rekindle.bench.tuning import costs, load
    from rekindle.bench.tuning import recorded as records
    from rekindle.wire.pools import Level

    record: Recorded | None = None
    runners = given.max_runners
    if recorded is not None:
        record = records.read(recorded)
    elif function is not None:
        record, most = _fetch(function)
        runners = runners or most
    levels: Mapping[Any, Any] | None = None
    source = ""
    if given.costs is not None:
        levels, source = costs.read_levels(given.costs), "--costs"
    elif record is not None and record.source:
        levels, source = record.levels, record.source
    else:
        levels, source = costs.levels(), costs.SOURCE
    if given.gpus:
        warm = dataclasses.replace(levels[Level.WARM], gpus=given.gpus)
        levels = {**levels, Level.WARM: warm}
    name = function or (record.function if record is not None else None)
    if trace_file is None:
        assert record is not None
        record = dataclasses.replace(record, levels=levels)
        trace: Trace = records.trace_of(record)
        return _Found(trace, f"recorded of {name}", source, name, record.now, runners)
    trace = load.load(
        trace_file,
        levels,
        record.settings if record is not None else None,
        format_=given.format_,
        service_s=given.service_ms / 1000,
        only=given.only,
        most=given.most,
    )
    now = record.now if record is not None else None
    return _Found(trace, str(trace_file), source, name, now, runners)


def _fetch(function: str) -> tuple[Recorded, int | None]:
    """What the controller recorded, and how many runners its agents have."""
    from rekindle.bench.tuning import recorded as records
    from rekindle.sdk import pools
    from rekindle.sdk.cli import operator

    client = operator.connect()
    record = records.parse(pools.recorded(client, function), function)
    agents = operator.ask(client.report(pools=False)).agents
    return record, sum(agent.max_runners for agent in agents) or None


def _export(console: Console, function: str | None, path: Path) -> int:
    """Write the record of a function to a file, for --recorded."""
    from rekindle.sdk import pools
    from rekindle.sdk.cli import operator

    if function is None:
        raise click.UsageError("--export needs APP.FUNCTION")
    report = pools.recorded(operator.connect(), function)
    path.write_text(json.dumps(report) + "\n", encoding="utf-8")
    console.print(f"{path}: what is recorded of {function}")
    return 0


def _try(
    console: Console, found: _Found, given: _Given
) -> tuple[list[Tried], list[Tried], Recommendation]:
    from rekindle.bench.tuning.node import Node
    from rekindle.bench.tuning.search import pareto, recommend, try_all
    from rekindle.bench.tuning.settings import candidates
    from rekindle.controller.policies import GIB, REGISTRY

    names = given.names or tuple(name for name in REGISTRY if name != "declared")
    percentile = int(given.percentile)
    settings = candidates(
        names,
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
        tried = try_all(
            found.trace,
            settings,
            given.prices,
            node,
            lambda text: status.update(f"replaying: {text}"),
        )
    front = pareto(tried, percentile)
    chosen = recommend(tried, target_ms=given.target_ms, percentile=percentile)
    return tried, front, chosen


def _plot(
    found: _Found,
    tried: Sequence[Tried],
    front: Sequence[Tried],
    chosen: Recommendation,
    given: _Given,
    path: Path,
) -> None:
    from rekindle.bench.tuning import plot
    from rekindle.sdk.cli import tune_show

    plot.save(
        tried,
        front,
        path,
        title=tune_show.title(found.trace, found.what, tried),
        percentile=int(given.percentile),
        target_ms=given.target_ms,
        chosen=chosen,
        note=f"prices: {given.prices.gib_hour:g} a GiB-hour, {given.prices.gpu_hour:g} a GPU-hour, "
        f"{given.prices.cpu_hour:g} a CPU-hour (of starts)",
    )


def _write(
    found: _Found,
    tried: Sequence[Tried],
    front: Sequence[Tried],
    chosen: Recommendation,
    given: _Given,
    path: Path,
) -> None:
    from rekindle.bench.tuning.costs import levels_to_json
    from rekindle.bench.tuning.table import as_json

    whole = {
        "replayed": found.what,
        "functions": len(found.trace.functions),
        "duration_s": found.trace.duration_s,
        "prices": asdict(given.prices),
        "levels": levels_to_json(found.trace.functions[0].levels),
        "levels_source": found.source,
        "latency_target_ms": given.target_ms,
        "percentile": int(given.percentile),
        "settings": as_json(tried, front),
        "recommended": {
            **chosen.tried.setting.to_dict(),
            "label": chosen.tried.label,
            "meets_target": chosen.meets_target,
            "why": chosen.why,
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def _apply(console: Console, found: _Found, chosen: Recommendation) -> None:
    """Put the recommended setting in force, on the instance that is up."""
    from rekindle.sdk import pools

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
    sizes: dict[str, Any] = dict(setting.overrides)
    pools.apply_setting(found.function, setting.policy, dict(setting.parameters), **sizes)
    console.print(f"{found.function}: in force now: {setting.label}; `rekindle pool ls` shows it")
