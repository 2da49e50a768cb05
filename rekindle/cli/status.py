"""``rekindle status`` and ``rekindle metrics``: what an instance is doing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.table import Table

from rekindle.cli import damaged, operator, shared_objects, versions
from rekindle.cli.tables import console as console_of
from rekindle.cli.tables import duration, json_option, print_json, size, table
from rekindle.counted import counted
from rekindle.sdk.local import choosing
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.class_parameters import shown
from rekindle.wire.messages import as_dict

#: How long a controller may take to answer.
_PATIENCE_S = 3.0


@click.command()
@json_option
def status(as_json: bool) -> int:
    """Show apps, queues and agents of the instance that is up.

    That of $REKINDLE_DIR, or what `rekindle up` keeps. Ends with status 1 when none is up.
    """
    directory = operator.where()
    if not operator.is_up():
        if as_json:
            print_json({"up": False, "directory": str(directory)})
        else:
            choosing.named()  # says what is wrong with that
            click.echo("No instance is up. `rekindle up` starts one.")
        return 1
    report = operator.report(operator.connect(_PATIENCE_S))
    if as_json:
        print_json(as_dict(report) | {"up": True, "directory": str(directory)})
    else:
        _show(report, directory)
    return 0


def _show(report: pb.StatusReply, directory: Path) -> None:
    console = console_of()
    version = report.redis.redis_version or "of a version that it does not say"
    redis = f"Redis {version}" if report.redis.up else "Redis is away"
    if report.redis.reason:
        redis = f"{redis}\n{report.redis.reason}; see that it runs and has room"
    if report.redis.may_lose:
        redis = f"{redis}\n{report.redis.may_lose}"
    up = duration(report.uptime_s)
    click.echo(f"rekindle {report.version}, up {up}, in {directory}; {redis}\n")
    console.print(_agents(report.agents))
    click.echo()
    functions = [(app, function) for app in report.apps for function in app.functions]
    console.print(_functions(functions) if functions else "No app is running.")
    for line in _kept(report):
        click.echo(line)
    if objects := shared_objects.lines(report.objects):
        click.echo()
        for line in objects:
            click.echo(line)
    if report.damaged:
        click.echo()
        for line in damaged.lines(report.damaged):
            click.echo(line)
    if any(agent.stats.gpus.devices for agent in report.agents):
        click.echo()
        console.print(_gpus(report.agents))
    for agent in report.agents:
        if agent.stats.gpus.driver and agent.stats.gpus.reason:
            click.echo(f"GPUs of {agent.host}: {agent.stats.gpus.reason}")
    if any(agent.stats.snapshots for agent in report.agents):
        click.echo()
        console.print(_snapshots(report))


def _kept(report: pb.StatusReply) -> list[str]:
    """What is kept of calls that are done, for whom and how long, in lines."""
    kept, redis = report.kept, report.redis
    if not report.HasField("kept"):
        return []
    lines = [""]
    if redis.HasField("used_memory"):  # it tells who may ask
        memory, file = redis.used_memory / 2**20, redis.aof_current_size / 2**20
        lines.append(f"Redis holds {memory:.1f} MiB, and {file:.1f} MiB on disk.")
    if kept.calls:
        days = duration(kept.spawned_kept_s)
        lines.append(
            f"Results of {counted(kept.calls, 'call')} are kept for who has a handle ({days}):"
        )
    for one in kept.of:
        first, last = duration(one.first_gone_in_s), duration(one.last_gone_in_s)
        until = first if first == last else f"{first} to {last}"
        lines.append(f"  {one.app}.{one.function}: {counted(one.calls, 'call')}, gone in {until}")
    if kept.calls > kept.seen:
        lines.append(f"  and {counted(kept.calls - kept.seen, 'call')} that go later")
    lines += [
        f"{one.app}.{one.function}: {counted(one.calls, 'call')} that run, or whose caller has not "
        f"taken all results; gone then, or with the app"
        for one in kept.not_taken
    ]
    return lines


def _agents(agents: Sequence[pb.AgentStatus]) -> Table:
    made = table("agent", "host", "state", ">runners", ">in flight", ">heard")
    for agent in agents:
        count = str(len(agent.stats.runners)) if agent.HasField("stats") else "?"
        made.add_row(
            agent.agent_id,
            agent.host,
            "connected" if agent.connected else "away",
            f"{count} of {agent.max_runners}",
            str(agent.in_flight),
            f"{agent.last_heard_s:.0f} s ago",
        )
    if not agents:
        made.add_row("none", "", "", "", "", "")
    return made


#: Who has a GPU that was lent.
_LOANS = {"spare": "a spare of {}", "snapshot": "a snapshot of {} that is made"}


def _weights(holder: pb.GpuHolder) -> str:
    """What stays on a GPU for runners to share, whose, and how many use it."""
    if not holder.weights:
        return "-"
    each = ", ".join(
        f"{one.function} ({'loading' if one.is_loading else counted(one.users, 'runner')})"
        for one in holder.weights
    )
    return f"{size(holder.held_bytes)} of {size(holder.budget_bytes)}: {each}"


def _gpus(agents: Sequence[pb.AgentStatus]) -> Table:
    """Who has which GPU, and what it is used for."""
    made = table("GPU", "host", ">memory", ">used", ">others", ">busy", "held by", "weights")
    for agent in agents:
        for one in agent.stats.gpus.devices:
            names = {runner.id: runner.function for runner in agent.stats.runners}
            holders = [f"{names.get(owner, '?')} ({owner})" for owner in one.runners]
            holders += [_LOANS.get(loan.to, loan.to).format(loan.function) for loan in one.loans]
            made.add_row(
                f"{one.index} {one.model}{f' {one.profile}' if one.profile else ''}",
                agent.host,
                size(one.memory_bytes),
                size(one.used_bytes),
                size(one.foreign_bytes) if one.foreign_bytes else "-",
                f"{one.busy_percent}%" if one.HasField("busy_percent") else "?",
                ", ".join(holders) or "free",
                _weights(one.holder),
            )
    return made


def _functions(functions: list[tuple[pb.AppStatus, pb.FunctionStatus]]) -> Table:
    made = table("app", "function", ">queued", ">in flight", ">delayed", "id")
    for app, function in functions:
        made.add_row(
            app.name + versions.mark(app),
            function.name,
            str(function.queued),
            str(function.in_flight),
            str(function.delayed),
            function.function_id,
        )
    return made


def _snapshots(report: pb.StatusReply) -> Table:
    """How the next runner of each function would come to be."""
    made = table("function", "template", ">spares", "snapshot", "note")
    names = {f.function_id: (app.name, f.name) for app in report.apps for f in app.functions}
    parameters = {
        pool.params: pool.instance
        for app in report.apps
        for function in app.functions
        for pool in function.pool.pools
    }
    for agent in report.agents:
        spares: Counter[tuple[str, str, str]] = Counter()
        for held in agent.stats.held:
            if held.function_id in names:
                spares[*names[held.function_id], held.params] += held.spares
        live = {(one.app, one.function, one.params) for one in agent.stats.templates}
        for one in agent.stats.snapshots:
            which = one.app, one.function, one.params
            note = "; ".join(one.fork_unsafe) or one.reason
            if one.HasField("progress"):
                written, elapsed_s = one.progress.written_bytes >> 20, one.progress.elapsed_s
                note = f"{one.progress.step}, {written} MiB in {elapsed_s:g} s"
            made.add_row(
                f"{one.app}.{one.function}{_parameters(one.params, parameters)}",
                "live" if which in live else "-",
                str(spares[which] or "-"),
                one.state,
                note,
            )
    return made


def _parameters(digest: str, known: Mapping[str, str]) -> str:
    """Those of an instance of a class; their digest, where the controller knows them no more."""
    if not digest:
        return ""
    instance = known.get(digest)
    return f"({shown(instance.encode()) if instance else digest[:8]})"


@click.command()
def metrics() -> None:
    """Print the metrics of the instance that is up, in Prometheus text format.

    `rekindle up --metrics 127.0.0.1:9464` serves the same over HTTP.

    \b
    rekindle metrics | grep rekindle_starts_total
    """
    reply = operator.request(operator.connect(), "Metrics", pb.MetricsRequest(), pb.MetricsReply)
    click.echo(reply.text, nl=False)
