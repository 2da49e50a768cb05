"""``rekindle status`` and ``rekindle metrics``: what an instance is doing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from rekindle.cli import operator
from rekindle.cli.tables import duration, table
from rekindle.wire import rekindle_pb2 as pb

if TYPE_CHECKING:
    from rich.table import Table

#: How long a controller may take to answer.
_PATIENCE_S = 3.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(as_json: bool) -> int:
    """Show apps, queues and agents of the instance that is up.

    That of $REKINDLE_DIR, or what `rekindle up` keeps. Ends with status 1 when none is up.
    """
    import os
    from pathlib import Path

    from rekindle import paths
    from rekindle.sdk.local import directory as instance

    named = os.environ.get("REKINDLE_DIR")
    directory = Path(named) if named else paths.daemon_dir()
    if instance.supervisor_pid(directory) is None and not instance.answers(directory):
        if as_json:
            click.echo(json.dumps({"up": False, "directory": str(directory)}))
        else:
            click.echo("No instance is up. `rekindle up` starts one.")
        return 1
    from rekindle.sdk.connection.background import background
    from rekindle.sdk.connection.client import Client

    async def ask() -> str:
        client = Client(directory)
        await client.hello(_PATIENCE_S)
        return await client.status()

    report: dict[str, Any] = json.loads(background().run(ask()))
    report |= {"up": True, "directory": str(directory)}
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _show(report)
    return 0


def _show(report: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    redis = report.get("redis", {})
    console.print(
        f"rekindle {report.get('version', '?')}, up {duration(report.get('uptime_s', 0))}, "
        f"in {report['directory']}; "
        + (
            f"Redis {redis.get('redis_version', '?')}" if redis.get("up", True) else "Redis is away"
        ),
        markup=False,
        soft_wrap=True,
    )
    console.print()
    console.print(_agents(report.get("agents", [])))
    console.print()
    functions = [
        (app, function) for app in report.get("apps", []) for function in app.get("functions", [])
    ]
    console.print(_functions(functions) if functions else "No app is running.")
    for line in _kept(report):
        console.print(line, markup=False, soft_wrap=True)
    warm = [
        (agent.get("agent_id", "?"), entry)
        for agent in report.get("agents", [])
        for entry in (agent.get("stats") or {}).get("snapshots", [])
    ]
    if warm:
        console.print()
        console.print(_snapshots(warm, _templates(report)))


def _kept(report: dict[str, Any]) -> list[str]:
    """What is kept of calls that are done, for whom and how long, in lines."""
    kept, redis = report.get("kept") or {}, report.get("redis", {})
    if not kept:
        return []
    memory, file = redis.get("used_memory", 0) / 2**20, redis.get("aof_current_size", 0) / 2**20
    lines = ["", f"Redis holds {memory:.1f} MiB, and {file:.1f} MiB on disk."]
    if kept["calls"]:
        days = duration(kept["spawned_kept_s"])
        lines.append(f"Results of {_calls(kept['calls'])} are kept for who has a handle ({days}):")
    for one in kept["of"]:
        first, last = duration(one["first_gone_in_s"]), duration(one["last_gone_in_s"])
        until = first if first == last else f"{first} to {last}"
        lines.append(f"  {one['app']}.{one['function']}: {_calls(one['calls'])}, gone in {until}")
    if kept["calls"] > kept["seen"]:
        lines.append(f"  and {_calls(kept['calls'] - kept['seen'])} that go later")
    lines += [
        f"{one['app']}.{one['function']}: {_calls(one['calls'])} that run, or whose caller has not "
        f"taken all results; gone then, or with the app"
        for one in kept["not_taken"]
    ]
    return lines


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count:,} calls"


def _agents(agents: list[dict[str, Any]]) -> Table:
    made = table("agent", "host", "state", ">runners", ">in flight", ">heard")
    for agent in agents:
        stats = agent.get("stats") or {}
        runners = stats.get("runners")
        count = len(runners) if isinstance(runners, (list, dict)) else runners
        made.add_row(
            agent.get("agent_id", "?"),
            agent.get("host", ""),
            "connected" if agent.get("connected") else "away",
            f"{count if count is not None else '?'} of {agent.get('max_runners', '?')}",
            str(agent.get("in_flight", "?")),
            f"{agent.get('last_heard_s', 0):.0f} s ago",
        )
    if not agents:
        made.add_row("none", "", "", "", "", "")
    return made


def _functions(functions: list[tuple[dict[str, Any], dict[str, Any]]]) -> Table:
    made = table("app", "function", ">queued", ">in flight", ">delayed", "id")
    for app, function in functions:
        name = app.get("name", "?") + (" (closing)" if app.get("closing") else "")
        made.add_row(
            name,
            function.get("name", "?"),
            str(function.get("queued", "?")),
            str(function.get("in_flight", "?")),
            str(function.get("delayed", 0)),
            function.get("function_id", ""),
        )
    return made


def _templates(report: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Agent, app and function of each live template."""
    return {
        (agent.get("agent_id", "?"), template.get("app", ""), template.get("function", ""))
        for agent in report.get("agents", [])
        for template in (agent.get("stats") or {}).get("templates", [])
    }


def _snapshots(entries: list[tuple[str, dict[str, Any]]], live: set[tuple[str, str, str]]) -> Table:
    """How the next runner of each function would come to be."""
    made = table("function", "template", "snapshot", "note")
    for agent_id, entry in entries:
        app, function = entry.get("app", ""), entry.get("function", "")
        progress = entry.get("progress") or {}
        note = "; ".join(entry.get("fork_unsafe") or []) or entry.get("reason", "")
        if progress:
            note = (
                f"{progress.get('step', '')}, {progress.get('written_bytes', 0) >> 20} MiB "
                f"in {progress.get('elapsed_s', 0):g} s"
            )
        made.add_row(
            f"{app}.{function}",
            "live" if (agent_id, app, function) in live else "-",
            entry.get("state", "?"),
            note,
        )
    return made


@click.command()
def metrics() -> None:
    """Print the metrics of the instance that is up, in Prometheus text format.

    `rekindle up --metrics 127.0.0.1:9464` serves the same over HTTP.

    \b
    rekindle metrics | grep rekindle_starts_total
    """
    reply = operator.connect().request("Metrics", pb.MetricsRequest(), pb.MetricsReply)
    click.echo(reply.text, nl=False)
