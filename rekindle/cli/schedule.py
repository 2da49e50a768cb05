"""``rekindle schedule``: when functions of deployed apps run, and what became of it."""

from __future__ import annotations

import textwrap
import time

import click

from rekindle.cli import operator, tables
from rekindle.cli.commands import CommandGroup
from rekindle.cli.options import app_named, environment_option, is_chosen
from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.callid import new_call_id
from rekindle.wire.messages import as_dict

#: Characters of an error in the table.
_MOST_OF_ERROR = 80


@click.group(cls=CommandGroup)
def schedule() -> None:
    """See when functions of deployed apps run; run one now."""


@schedule.command("ls")
@environment_option
@click.argument("app", required=False)
@tables.json_option
def ls(app: str | None, as_json: bool) -> None:
    """Show schedules, of APP or of all its environment: the next run, and what the last came to."""
    request = pb.SchedulesRequest(app=app_named(app) if app is not None else "")
    client = operator.connect()
    reply = operator.request(client, "Schedules", request, pb.SchedulesReply)
    found = [one for one in reply.schedules if app or is_chosen(one.app)]
    if as_json:
        tables.print_json([as_dict(one) for one in found])
        return
    if not found:
        click.echo("No deployed app has a schedule.")
        return
    now = time.time()
    columns = ("Function", "Schedule", "Next", "Last", "Result", ">Runs", ">Missed")
    table = tables.table(*columns)
    for one in found:
        last = one.last[0] if one.last else None
        table.add_row(
            f"{one.app}.{one.function}",
            one.schedule,
            f"in {tables.duration(one.next - now)}" if one.next else "-",
            tables.ago(last.due) if last is not None else "-",
            _result(last) if last is not None else "-",
            str(one.runs),
            str(one.missed),
        )
    tables.console().print(table)


def _result(run: pb.ScheduledRun) -> str:
    if run.state == "done":
        return f"done in {tables.millis(1000 * run.took_s)}"
    return f"{run.state}: {_shortened(run.error)}" if run.error else run.state


def _shortened(error: str) -> str:
    """For a table; ``--json`` has the whole."""
    first, _, more = error.strip().partition("\n")
    short = textwrap.shorten(first, _MOST_OF_ERROR, placeholder=" ...") if first else ""
    return f"{short} ..." if more and not short.endswith(" ...") else short


@schedule.command()
@environment_option
@click.argument("function", metavar="APP.FUNCTION")
def run(function: str) -> None:
    """Run a function that has a schedule now, besides its times."""
    app, dot, name = app_named(function).rpartition(".")
    if not dot:
        raise InvalidError(f"{function!r}: write APP.FUNCTION, as `rekindle schedule ls` shows it")
    request = pb.RunScheduleRequest(app=app, function=name, call_id=new_call_id())
    made = operator.request(operator.connect(), "RunSchedule", request, pb.ScheduledRun)
    click.echo(f"Submitted {made.call_id}. `rekindle schedule ls {app}` shows what becomes of it.")
