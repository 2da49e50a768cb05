"""``rekindle inputs``: what waits, one call, its cancellation, and dead letters."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import click

from rekindle.cli import operator, versions
from rekindle.cli.commands import CommandGroup
from rekindle.cli.dead import dead, is_named
from rekindle.cli.options import confirm_loss, environment_option, yes_option
from rekindle.cli.tables import age, console, json_option, listing, print_json, since, table
from rekindle.counted import counted
from rekindle.exception import InvalidError, NotFoundError, OutputExpiredError
from rekindle.sdk.connection.client import Client
from rekindle.sdk.connection.seen import Seen
from rekindle.sdk.environments import environment_of
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import as_dict

#: Inputs of a call whose results are looked at, and errors that are shown whole.
_MOST, _MOST_SHOWN = 10_000, 5


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def inputs() -> None:
    """Look at inputs that wait, cancel calls, and see to inputs that were given up."""


@inputs.command("ls")
@environment_option
@click.option("--function", "name", default="", metavar="NAME", help="Only this function, or app.")
@json_option
def ls(name: str, as_json: bool) -> None:
    """Show what waits for each function of an environment.

    Queued inputs have not begun, those in flight are at a node, delayed ones wait for a retry.
    Oldest is the age of the oldest input that is not done.
    """
    client = operator.connect()
    report = operator.report(client, pools=False)
    rows = [
        row
        for row in functions(report)
        if is_named(name, row["app"], row["function"], row["function_id"])
    ]
    if name and not rows:
        raise NotFoundError(f"no open function is called {name!r}; `rekindle inputs ls` lists them")
    if as_json:
        print_json(rows)
        return
    marks = {one.function_id: versions.mark(app) for app in report.apps for one in app.functions}
    made = table("function", ">queued", ">in flight", ">delayed", ">oldest", ">dead", "id")
    for row in rows:
        made.add_row(
            f"{row['app']}.{row['function']}{marks[row['function_id']]}",
            *(str(row[key]) for key in ("queued", "in_flight", "delayed")),
            age(row["oldest_s"]) if row["oldest_s"] else "-",
            str(row["dead"]),
            row["function_id"],
        )
    console().print(made if rows else f"No app is running in {environment_of(None)}.")
    if report.dead_of_closed and not name:
        click.echo(
            f"Dead letters of apps that are closed, of all environments: {report.dead_of_closed}; "
            "`rekindle inputs dead ls` lists them, with --env those of another one."
        )


def functions(report: pb.StatusReply) -> list[dict[str, Any]]:
    """The functions of a status report, with what waits for them."""
    shown = ("function_id", "queued", "in_flight", "delayed", "dead", "oldest_s")
    return [
        {"app": app.name, "function": one.name} | {key: getattr(one, key) for key in shown}
        for app in report.apps
        for one in app.functions
    ]


@inputs.command()
@click.argument("call_id", metavar="fc-...")
@json_option
def show(call_id: str, as_json: bool) -> None:
    """Show how far a call is, and the errors of its inputs that failed."""
    client = operator.connect()
    info = operator.request(client, "GetCall", pb.GetCallRequest(call_id=call_id), pb.CallInfo)
    failed = operator.ask(_failed(client, call_id, info.inputs)) if info.done else []
    if as_json:
        errors = [
            {
                "index": one.index,
                "status": pb.ResultStatus.Name(one.status),
                **{name: getattr(one, name) for name in ("error_type", "message", "traceback")},
            }
            for one in failed
        ]
        print_json(as_dict(info) | {"state": state_of(info), "failed": errors})
        return
    rows = [
        ("call", info.call_id),
        ("function", f"{info.app}.{info.function}".strip(".") or info.function_id),
        ("state", state_of(info)),
        ("inputs", f"{info.inputs}" + ("" if info.submitted else ", more may come")),
        ("done", str(info.done)),
        ("in flight", str(info.running)),
        ("waiting", str(max(0, info.inputs - info.done - info.running))),
    ]
    if info.submitted_ns:
        rows.append(("submitted", since(info.submitted_ns)))
    if failed:
        rows.append(("failed", f"{len(failed)}" + (", or more" if info.done > _MOST else "")))
    console().print(listing(rows))
    for one in failed[:_MOST_SHOWN]:
        kind = one.error_type.rpartition(".")[2] or pb.ResultStatus.Name(one.status)
        click.echo(f"\nInput {one.index}: {kind}: {one.message}".rstrip(": "))
        if one.traceback:
            click.echo(one.traceback.rstrip())
    if len(failed) > _MOST_SHOWN:
        click.echo(f"\n{len(failed) - _MOST_SHOWN} more failed; --json has all of them.")


async def _failed(client: Client, call_id: str, inputs: int) -> list[pb.Result]:
    """Results that are kept of inputs of a call and are none of success, of the first ones."""
    found = []
    stream = client.results(call_id, Seen(0), end_index=min(inputs, _MOST), stored=True)
    with contextlib.suppress(NotFoundError, OutputExpiredError):  # they have had their time
        async with contextlib.aclosing(stream):
            async for batch, _ in stream:
                for _index, raw in batch:
                    result = pb.Result.FromString(raw)
                    if result.status not in (pb.SUCCESS, pb.CANCELLED):
                        found.append(result)
    return sorted(found, key=lambda one: one.index)


def state_of(info: pb.CallInfo) -> str:
    """One word for a call."""
    if info.submitted and info.done >= info.inputs:
        return "cancelled" if info.cancelled else "done"
    if info.cancelled:
        return "being cancelled"
    return "running" if info.running or info.done else "queued"


@inputs.command(short_help="Cancel a call.")
@click.argument("call_id", metavar="fc-...")
@click.option(
    "--terminate-containers",
    is_flag=True,
    help="End the runners at once; other inputs that they had are placed again.",
)
@yes_option
def cancel(call_id: str, terminate_containers: bool, yes: bool) -> None:
    """Cancel a call: queued inputs never start, running ones get InputCancellation."""
    if not call_id.startswith("fc-"):
        raise InvalidError(f"{call_id!r} is not a call id: these start with 'fc-'")
    client = operator.connect()
    wanted = pb.GetCallRequest(call_id=call_id)
    known = partial(operator.request, client, "GetCall", wanted, pb.CallInfo)
    confirm_loss(f"Cancel the call {call_id}?", known, yes=yes)
    request = pb.CancelCallRequest(call_id=call_id, terminate_containers=terminate_containers)
    met = operator.request(client, "CancelCall", request, pb.CancelCallReply)
    if not met.queued and not met.running:
        click.echo(f"{call_id}: nothing was left to cancel.")
    else:
        queued = counted(met.queued, "queued input")
        click.echo(f"{call_id}: {queued} and {met.running} in flight cancelled.")


inputs.add_command(dead)
