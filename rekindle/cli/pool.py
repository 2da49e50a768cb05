"""``rekindle pool``: what is held of each function, by which settings and policy; set them."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.table import Table

from rekindle.cli import operator, versions
from rekindle.cli.commands import CommandGroup
from rekindle.cli.options import app_named, environment_option
from rekindle.cli.tables import console, json_option, print_json, table
from rekindle.exception import NotFoundError
from rekindle.sdk import autoscaler
from rekindle.sdk.checks import nearest
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.class_parameters import shown
from rekindle.wire.messages import as_dict, option_values

#: Of starts, in the order of the table.
_KINDS = ("spare", "fork", "restore", "restore_disk", "cold")

#: APP.FUNCTION, what is known of it, and what is to be said of its app.
Entry = tuple[str, pb.FunctionStatus, str]


@click.group(cls=CommandGroup)
def pool() -> None:
    """Look at pools, and set their sizes and policies while an app runs."""


@pool.command("ls")
@environment_option
@click.argument("name", metavar="[APP.FUNCTION]", required=False)
@json_option
def list_pools(name: str | None, as_json: bool) -> int:
    """List functions: settings, policy, runners, resting level, memory, measured start costs."""
    report = operator.report(operator.connect())
    entries = [
        (f"{app.name}.{function.name}", function, versions.mark(app))
        for app in report.apps
        for function in app.functions
    ]
    if name is not None:
        name = app_named(name)
        known = {label for label, _, _ in entries}
        if name not in known:
            near = nearest(name, known) or f"; there are: {', '.join(sorted(known)) or 'none'}"
            raise NotFoundError(f"no function {name!r} is running{near}")
        entries = [entry for entry in entries if entry[0] == name]
    if as_json:
        whole = [
            {"function": label, "function_id": function.function_id, **as_dict(function.pool)}
            for label, function, _ in entries
        ]
        print_json(whole)
    elif entries:
        _show(entries, report)
    else:
        click.echo("No app is running.")
    return 0


def _show(entries: list[Entry], report: pb.StatusReply) -> None:
    out = console()
    out.print(_pools(entries))
    out.print()
    out.print(_costs(entries))
    for agent in report.agents:
        memory = agent.stats.memory
        if memory.budget_bytes:
            click.echo(
                f"\n{agent.host}: {_mib(memory.held_bytes)} MiB held of a "
                f"budget of {_mib(memory.budget_bytes)} MiB (RSS {_mib(memory.rss_bytes)}, "
                f"PSS {_mib(memory.pss_bytes)}, mapped {_mib(memory.mapped_bytes)}, "
                f"snapshots cached {_mib(memory.cached_bytes)})"
            )
            for gone in memory.evicted[-3:]:
                click.echo(
                    f"  given up: {gone.what} of {gone.function}, "
                    f"{_mib(gone.bytes)} MiB, idle {gone.idle_s:g} s ({gone.reason})"
                )


def _pools(entries: list[Entry]) -> Table:
    made = table(
        *("function", ">min", ">max", ">buffer", ">spare", ">window", "policy"),
        *(">busy", ">idle", ">starting", ">spares", "held", "why"),
    )
    for label, function, mark in entries:
        held, settings = function.pool, function.pool.settings
        changed = "*" if settings.HasField("changed") else ""
        rest = "disk" if held.costs.sizes.get("snapshot_bytes") else "none"
        for place, one in enumerate(held.pools or [pb.PoolStatus()]):
            made.add_row(
                label + (f"({shown(one.instance.encode())})" if one.instance else "") + mark,
                str(settings.min_containers),
                _most(settings, "-"),
                str(settings.buffer_containers),
                _spare(settings),
                f"{settings.scaledown_window:g} s",
                f"{settings.policy}{_options(settings)}{changed}" if not place else "",
                str(one.busy),
                str(one.idle),
                str(one.starting),
                _spares(one),
                ", ".join(sorted({at.report.level for at in one.agents})) or rest,
                one.why,
            )
    return made


def _most(settings: pb.PoolSettings, without: str) -> str:
    return str(settings.max_containers) if settings.HasField("max_containers") else without


def _spare(settings: pb.PoolSettings) -> str:
    """The setting; the policy decides where there is none."""
    return str(settings.spare_containers) if settings.HasField("spare_containers") else "auto"


def _spares(one: pb.PoolStatus) -> str:
    """How many wait on all nodes, of how many that the plan asks for where a template is live."""
    waiting = sum(at.report.spares for at in one.agents)
    return f"{waiting} of {one.plan.spares}" if waiting or one.plan.spares else "-"


def _options(settings: pb.PoolSettings) -> str:
    options = option_values(settings.policy_options)
    return f" ({', '.join(f'{k}={v}' for k, v in options.items())})" if options else ""


def _costs(entries: list[Entry]) -> Table:
    made = table(
        *("function", ">spare ms", ">fork ms", ">restore ms", ">from disk ms", ">cold ms"),
        *(">input ms", ">runner MiB", ">spare MiB", ">template MiB", ">snapshot MiB"),
    )
    for label, function, mark in entries:
        held = function.pool
        starts, sizes = held.costs.starts, held.costs.sizes
        made.add_row(
            label + mark,
            *(_start(starts.get(kind)) for kind in _KINDS),
            f"{held.service_ms:g}" if held.service_ms else "-",
            _mib(sizes.get("runner_bytes")),
            _mib(sizes.get("spare_bytes"), digits=1),
            _mib(sizes.get("template_bytes") or sizes.get("booted_bytes")),
            _mib(sizes.get("snapshot_bytes")),
        )
    return made


def _start(measured: pb.StartCost | None) -> str:
    """p50 and p95."""
    return f"{measured.p50_ms:g}/{measured.p95_ms:g}" if measured else "-"


def _mib(size: int | None, digits: int = 0) -> str:
    return f"{size / (1 << 20):.{digits}f}" if size else "-"


def _spare_count(context: click.Context, option: click.Parameter, given: str | None) -> int | None:
    """The number; -1 for ``auto``, as ``update_autoscaler`` has it."""
    if given is None:
        return None
    if given == "auto":
        return -1
    try:
        return int(given)
    except ValueError:
        raise click.BadParameter(f"{given!r} is neither a number nor auto") from None


@pool.command("set")
@environment_option
@click.argument("name", metavar="APP.FUNCTION")
@click.option("--min", "min_containers", type=int, help="Runners kept in any case.")
@click.option("--max", "max_containers", type=int, help="Runners at most; 0 is no limit.")
@click.option("--buffer", "buffer_containers", type=int, help="Idle runners besides busy ones.")
@click.option(
    "--spare",
    "spare_containers",
    metavar="N|auto",
    callback=_spare_count,
    help="Forked children that wait for a start, on a node no more than it may have runners; "
    "auto: the policy decides.",
)
@click.option("--scaledown-window", type=float, help="Seconds that an idle runner is kept.")
@click.option("--policy", help="The policy that sizes the pool.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the policy.")
@click.option("--reset", is_flag=True, help="Drop what was set before.")
@click.option("--json", "as_json", is_flag=True, help="Print what is in force as JSON.")
def set_pool(name: str, options: tuple[str, ...], reset: bool, as_json: bool, **given: Any) -> int:
    """Set pool sizes or the policy of a function, until its app is run again."""
    wanted = {key: value for key, value in given.items() if value is not None}
    if not wanted and not options and not reset:
        raise click.UsageError("nothing to set: give --min, --max, --policy, ..., or --reset")
    if options and "policy" not in wanted:
        raise click.UsageError("--option belongs to a policy: give --policy, too")
    client = operator.connect()
    reply = autoscaler.set_by_name(
        client, app_named(name), options=_parsed(options), reset=reset, **wanted
    )
    if as_json:
        print_json(as_dict(reply))
        return 0
    settings = reply.settings
    click.echo(
        f"{reply.function}: min {settings.min_containers}, max {_most(settings, 'none')}, "
        f"buffer {settings.buffer_containers}, spare {_spare(settings)}, "
        f"scaledown window {settings.scaledown_window:g} s, "
        f"policy {settings.policy}{_options(settings)}"
    )
    for note in reply.notes:
        click.echo(f"  {note}")
    return 0


def _parsed(options: tuple[str, ...]) -> dict[str, Any]:
    """NAME=VALUE, the value as JSON where it is some, otherwise as text."""
    made: dict[str, Any] = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--option {option!r}: write NAME=VALUE")
        try:
            made[key.replace("-", "_")] = json.loads(text)
        except ValueError:
            made[key.replace("-", "_")] = text
    return made
