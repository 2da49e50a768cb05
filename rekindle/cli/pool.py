"""``rekindle pool``: what is held of each function, by which settings and policy; set them."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.table import Table

from rekindle.cli import operator
from rekindle.cli.tables import console, json_option, print_json, table
from rekindle.exception import NotFoundError
from rekindle.sdk import pool_settings
from rekindle.sdk.checks import nearest


@click.group()
def pool() -> None:
    """Look at pools, and set their sizes and policies while an app runs."""


@pool.command("ls")
@click.argument("name", metavar="[APP.FUNCTION]", required=False)
@json_option
def list_pools(name: str | None, as_json: bool) -> int:
    """List functions: settings, policy, runners, resting level, memory, measured start costs."""
    report = operator.ask(operator.connect().report())
    entries = [
        {"function": f"{app['name']}.{function['name']}", "app_id": app["app_id"], **function}
        for app in report.get("apps", [])
        for function in app.get("functions", [])
    ]
    if name is not None:
        known = {entry["function"] for entry in entries}
        if name not in known:
            near = nearest(name, known) or f"; there are: {', '.join(sorted(known)) or 'none'}"
            raise NotFoundError(f"no function {name!r} is running{near}")
        entries = [entry for entry in entries if entry["function"] == name]
    if as_json:
        keys = ("function", "function_id")
        print_json([{key: one[key] for key in keys} | (one.get("pool") or {}) for one in entries])
    elif entries:
        _show(entries, report)
    else:
        click.echo("No app is running.")
    return 0


def _show(entries: list[dict[str, Any]], report: dict[str, Any]) -> None:
    out = console()
    out.print(_pools(entries))
    out.print()
    out.print(_costs(entries))
    for agent in report.get("agents", []):
        memory = (agent.get("stats") or {}).get("memory") or {}
        if memory.get("budget_bytes"):
            out.print(
                f"\n{agent.get('host', '?')}: {_mib(memory.get('held_bytes'))} MiB held of a "
                f"budget of {_mib(memory['budget_bytes'])} MiB (RSS {_mib(memory['rss_bytes'])}, "
                f"PSS {_mib(memory['pss_bytes'])}, mapped {_mib(memory['mapped_bytes'])}, "
                f"snapshots cached {_mib(memory.get('cached_bytes'))})",
                markup=False,
                soft_wrap=True,
            )
            for gone in memory.get("evicted", [])[-3:]:
                out.print(
                    f"  given up: {gone['what']} of {gone['function']}, "
                    f"{_mib(gone['bytes'])} MiB, idle {gone['idle_s']:g} s ({gone['reason']})",
                    markup=False,
                    soft_wrap=True,
                )


def _pools(entries: list[dict[str, Any]]) -> Table:
    made = table(
        *("function", ">min", ">max", ">buffer", ">window", "policy"),
        *(">busy", ">idle", ">starting", "held", "why"),
    )
    for entry in entries:
        held = entry.get("pool") or {}
        most = held.get("max_containers")
        changed = "*" if held.get("changed") else ""
        rest = "disk" if (held.get("sizes") or {}).get("snapshot_bytes") else "none"
        for place, one in enumerate(held.get("pools") or [{}]):
            name = entry["function"] + (f"({one['params'][:8]})" if one.get("params") else "")
            made.add_row(
                name,
                str(held.get("min_containers", "?")),
                "-" if most is None else str(most),
                str(held.get("buffer_containers", "?")),
                f"{held.get('scaledown_window', 0):g} s",
                f"{held.get('policy', '?')}{_options(held)}{changed}" if not place else "",
                str(one.get("busy", 0)),
                str(one.get("idle", 0)),
                str(one.get("starting", 0)),
                ", ".join(sorted({str(a.get("level")) for a in one.get("agents", [])})) or rest,
                one.get("why", ""),
            )
    return made


def _options(held: dict[str, Any]) -> str:
    options = held.get("policy_options") or {}
    return f" ({', '.join(f'{k}={v}' for k, v in options.items())})" if options else ""


def _costs(entries: list[dict[str, Any]]) -> Table:
    made = table(
        *("function", ">fork ms", ">restore ms", ">from disk ms", ">cold ms", ">input ms"),
        *(">runner MiB", ">template MiB", ">snapshot MiB"),
    )
    for entry in entries:
        held = entry.get("pool") or {}
        starts, sizes = held.get("starts") or {}, held.get("sizes") or {}
        made.add_row(
            entry["function"],
            *(_start(starts.get(kind)) for kind in ("fork", "restore", "restore_disk", "cold")),
            f"{held['service_ms']:g}" if held.get("service_ms") else "-",
            _mib(sizes.get("runner_bytes")),
            _mib(sizes.get("template_bytes") or sizes.get("booted_bytes")),
            _mib(sizes.get("snapshot_bytes")),
        )
    return made


def _start(measured: dict[str, float] | None) -> str:
    """p50 and p95."""
    return f"{measured['p50_ms']:g}/{measured['p95_ms']:g}" if measured else "-"


def _mib(size: Any) -> str:
    return f"{size / (1 << 20):.0f}" if size else "-"


@pool.command("set")
@click.argument("name", metavar="APP.FUNCTION")
@click.option("--min", "min_containers", type=int, help="Runners kept in any case.")
@click.option("--max", "max_containers", type=int, help="Runners at most; 0 is no limit.")
@click.option("--buffer", "buffer_containers", type=int, help="Idle runners beside busy ones.")
@click.option("--scaledown-window", type=float, help="Seconds that an idle runner is kept.")
@click.option("--policy", help="The policy that sizes the pool.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the policy.")
@click.option("--reset", is_flag=True, help="Drop what was set before.")
@click.option("--json", "as_json", is_flag=True, help="Print what is in force as JSON.")
def set_pool(name: str, options: tuple[str, ...], reset: bool, as_json: bool, **given: Any) -> int:
    """Set pool sizes or the policy of a function, until its app is run anew."""
    wanted = {key: value for key, value in given.items() if value is not None}
    if not wanted and not options and not reset:
        raise click.UsageError("nothing to set: give --min, --max, --policy, ..., or --reset")
    if options and "policy" not in wanted:
        raise click.UsageError("--option belongs to a policy: give --policy, too")
    client = operator.connect()
    report = pool_settings.set_by_name(
        client, name, options=_parsed(options), reset=reset, **wanted
    )
    if as_json:
        print_json(report)
        return 0
    most = report["max_containers"]
    click.echo(
        f"{report['function']}: min {report['min_containers']}, "
        f"max {'none' if most is None else most}, buffer {report['buffer_containers']}, "
        f"scaledown window {report['scaledown_window']:g} s, "
        f"policy {report['policy']}{_options(report)}"
    )
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
