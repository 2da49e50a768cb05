"""``rekindle container``: runners, what they print, their end, and commands inside of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from rekindle.cli import operator, tables
from rekindle.cli.commands import CommandGroup
from rekindle.cli.logs import logs as logs_command
from rekindle.cli.options import confirm, environment_option, yes_option
from rekindle.cli.top_model import runners
from rekindle.exception import InvalidError, NotFoundError
from rekindle.sdk.checks import nearest
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import runner_variables


@dataclass(frozen=True)
class Found:
    """A runner, and the node that it is on."""

    name: str  # APP.FUNCTION
    host: str
    runner: pb.RunnerStats


@click.group(cls=CommandGroup)
def container() -> None:
    """Look at runners, and into them. (Elsewhere they are called containers.)"""


def find(runner_id: str) -> Found:
    """A runner of the instance that is up. Raises NotFoundError with the nearest id."""
    found = _all()
    for one in found:
        if one.runner.id == runner_id:
            return one
    near = nearest(runner_id, [one.runner.id for one in found]) or ";"
    raise NotFoundError(
        f"there is no runner {runner_id!r}{near} `rekindle container list` shows all"
    )


def _all() -> list[Found]:
    return found_in(operator.report(operator.connect(), pools=False))


def found_in(report: pb.StatusReply) -> list[Found]:
    """All runners, those that work first."""
    hosts = {one.id: agent.host for agent in report.agents for one in agent.stats.runners}
    return [Found(name, hosts[one.id], one) for name, one in runners(report)]


@container.command("list")
@tables.json_option
def list_(as_json: bool) -> None:
    """Show all runners: those that work first."""
    rows = [
        {
            "id": one.runner.id,
            "function": one.name,
            "app_id": one.runner.app_id,
            "state": one.runner.state,
            "strategy": one.runner.strategy,
            "inputs": one.runner.inputs,
            "age_s": one.runner.age_s,
            "memory_bytes": one.runner.pss_bytes,
            "host": one.host,
            "pid": one.runner.pid,
        }
        for one in _all()
    ]
    if as_json:
        tables.print_json(rows)
        return
    if not rows:
        click.echo("There are no runners.")
        return
    table = tables.table(
        *("Runner", "Function", "State", "Started by", ">Inputs", ">Age", ">Memory", "Node")
    )
    for row in rows:
        memory = row["memory_bytes"]
        table.add_row(
            *(str(row[key]) for key in ("id", "function", "state", "strategy", "inputs")),
            tables.age(float(str(row["age_s"]))),
            tables.size(float(str(memory))) if memory else "-",
            str(row["host"]),
        )
    tables.console().print(table)


@container.command()
@click.argument("runner_id", metavar="RUNNER")
@click.option("--graceful", is_flag=True, help="Let it end what it runs; it gets nothing more.")
@yes_option
def stop(runner_id: str, graceful: bool, yes: bool) -> None:
    """End a runner. What it runs is run again by another one; its exit hooks run where it is idle.

    \b
    rekindle container stop ru-... --graceful
    """
    found = find(runner_id)  # nothing is asked of one that is not there
    if not graceful:
        confirm(f"End the runner {runner_id} of {found.name} at once?", yes=yes)
    request = pb.StopRunnerRequest(runner_id=runner_id, graceful=graceful)
    operator.request(operator.connect(), "StopRunner", request, pb.StopRunnerReply)
    click.echo(f"{runner_id} {'ends when it has nothing to do' if graceful else 'is ended'}.")


@container.command("exec", context_settings={"allow_interspersed_args": False})
@click.argument("runner_id", metavar="RUNNER")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(runner_id: str, command: tuple[str, ...]) -> int:
    """Run a command where a runner is: its files, processes, ids, environment and secrets.

    The terminal is the command's, whose status is this one's. The runner must be on this machine.

    \b
    rekindle container exec ru-... ps aux
    """
    if command[0] == "--":  # the parser leaves it: what stands behind RUNNER is not its own
        command = command[1:]
    if not command:
        raise click.UsageError("what should be run there? `rekindle container exec RUNNER COMMAND`")
    return run_in(operator.where(), find(runner_id), command)


def run_in(instance: Path, found: Found, command: Sequence[str]) -> int:
    """Run a command where a runner is, with the runner's variables; its status.

    Secrets are as they are now. Raises InvalidError for one on another machine.
    """
    if found.host != socket.gethostname():
        raise InvalidError(
            f"{found.runner.id} is on {found.host}: run `rekindle container exec` there"
        )
    from rekindle.runtime import asked_secrets

    secrets = asked_secrets.of_function(instance, found.runner.function_id, found.name)
    entering = [sys.executable, "-P", "-m", "rekindle.linux.entering", str(found.runner.pid)]
    with open(os.memfd_create("variables"), "w+") as variables:
        json.dump(secrets | _identity(found), variables)
        variables.flush()
        variables.seek(0)
        number = variables.fileno()
        process = subprocess.Popen([*entering, str(number), *command], pass_fds=[number])
    with process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the command's as well, which decides
                continue


def _identity(found: Found) -> dict[str, str]:
    """The variables by which a runner knows itself: its process has not begun with them."""
    runner = found.runner
    app, _, function = found.name.rpartition(".")
    told = runner_variables.of_function(app, runner.app_id, function)
    return told | {runner_variables.RUNNER_ID: runner.id}


def shell() -> str:
    """The shell of this user, else the one that there always is."""
    return os.environ.get("SHELL") or "/bin/sh"


@container.command("logs")
@environment_option
@click.argument("runner_id", metavar="RUNNER")
@click.option("--app", "app", default="", help="Its app; needed once the runner has ended.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until the app closes.")
@click.option("-n", "--tail", type=click.IntRange(1, 20_000), help="Only the last N lines.")
@click.option("--since", metavar="AGE", help="Only lines since: 90s, 30min, 2h, 3d, or a time.")
@click.option("--until", metavar="AGE", help="Only lines before that: an age or a time, too.")
@click.option("--timestamps", is_flag=True, help="Show when each line was written.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each line.")
@click.pass_context
def logs(
    context: click.Context,
    runner_id: str,
    app: str,
    follow: bool,
    tail: int | None,
    since: str | None,
    until: str | None,
    timestamps: bool,
    as_json: bool,
) -> None:
    """Show what a runner printed, or follow it."""
    context.invoke(
        logs_command,
        app=app or _app_of(runner_id),
        runner_id=runner_id,
        follow=follow,
        tail=tail,
        since=since,
        until=until,
        timestamps=timestamps,
        as_json=as_json,
    )


def _app_of(runner_id: str) -> str:
    """The id of a runner's app. Raises NotFoundError."""
    try:
        return find(runner_id).runner.app_id
    except NotFoundError as error:
        raise NotFoundError(f"{error}, of one that has ended give its app (--app)") from None
