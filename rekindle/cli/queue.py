"""``rekindle queue``: what waits, one call, its cancellation, and dead letters."""

from __future__ import annotations

import time
from typing import Any

import click
from google.protobuf.json_format import MessageToDict

from rekindle.cli import operator
from rekindle.cli.dead import dead
from rekindle.cli.tables import age, console, duration, json_option, listing, print_json, table
from rekindle.exception import NotFoundError
from rekindle.wire import rekindle_pb2 as pb


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def queue() -> None:
    """Look at queues, cancel calls, and see to inputs that were given up."""


@queue.command("ls")
@click.option("--function", "name", default="", metavar="NAME", help="Only this function, or app.")
@json_option
def ls(name: str, as_json: bool) -> None:
    """Show what waits for each function.

    Queued inputs have not begun, those in flight are at a node, delayed ones wait for a retry.
    Oldest is the age of the oldest input that is not done.
    """
    client = operator.connect()
    report = operator.ask(client.report(pools=False))
    rows = [row for row in functions(report) if matches(row, name)]
    if name and not rows:
        raise NotFoundError(f"no open function is called {name!r}; `rekindle queue ls` lists all")
    if as_json:
        print_json(rows)
        return
    made = table("function", ">queued", ">in flight", ">delayed", ">oldest", ">dead", "id")
    for row in rows:
        made.add_row(
            f"{row['app']}.{row['function']}",
            *(str(row[key]) for key in ("queued", "in_flight", "delayed")),
            age(row["oldest_s"]) if row["oldest_s"] else "-",
            str(row["dead"]),
            row["function_id"],
        )
    out = console()
    out.print(made if rows else "No app is running.")
    if report.dead_of_closed and not name:
        out.print(
            f"{report.dead_of_closed} dead letters are of apps that are closed; "
            "`rekindle queue dead ls` lists all.",
            markup=False,
        )


def functions(report: pb.StatusReply) -> list[dict[str, Any]]:
    """The functions of a status report, with what waits for them."""
    return [
        {
            "app": app.name,
            "function": one.name,
            "function_id": one.function_id,
            "queued": one.queued,
            "in_flight": one.in_flight,
            "delayed": one.delayed,
            "dead": one.dead,
            "oldest_s": one.oldest_s,
        }
        for app in report.apps
        for one in app.functions
    ]


def matches(row: dict[str, Any], name: str) -> bool:
    """Whether a function is the one that was named: by id, app, name, or both."""
    app, function = row["app"], row["function"]
    return name in ("", row["function_id"], app, function, f"{app}.{function}")


@queue.command()
@click.argument("call_id", metavar="fc-...")
@json_option
def show(call_id: str, as_json: bool) -> None:
    """Show how far a call is."""
    client = operator.connect()
    info = client.request("GetCall", pb.GetCallRequest(call_id=call_id), pb.CallInfo)
    if as_json:
        fields = MessageToDict(
            info, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        print_json(fields | {"state": state_of(info), "submitted_ns": info.submitted_ns})
        return
    rows = [
        ("call", info.call_id),
        ("function", f"{info.app}.{info.function}".strip(".") or info.function_id),
        ("state", state_of(info)),
        ("inputs", f"{info.inputs}" + ("" if info.submitted else ", more may come")),
        ("done", str(info.done)),
        ("running", str(info.running)),
        ("waiting", str(max(0, info.inputs - info.done - info.running))),
    ]
    if info.submitted_ns:
        rows.append(("submitted", f"{duration(time.time() - info.submitted_ns / 1e9)} ago"))
    console().print(listing(rows))


def state_of(info: pb.CallInfo) -> str:
    """One word for a call."""
    if info.submitted and info.done >= info.inputs:
        return "cancelled" if info.cancelled else "done"
    if info.cancelled:
        return "being cancelled"
    return "running" if info.running or info.done else "queued"


@queue.command(short_help="Cancel a call.")
@click.argument("call_id", metavar="fc-...")
@click.option(
    "--terminate-containers",
    is_flag=True,
    help="End the runners at once; other inputs that they had are placed again.",
)
def cancel(call_id: str, terminate_containers: bool) -> None:
    """Cancel a call: queued inputs never start, running ones get InputCancellation."""
    request = pb.CancelCallRequest(call_id=call_id, terminate_containers=terminate_containers)
    met = operator.connect().request("CancelCall", request, pb.CancelCallReply)
    if not met.queued and not met.running:
        click.echo(f"{call_id}: nothing was left to cancel.")
    else:
        click.echo(f"{call_id}: {met.queued} queued and {met.running} running inputs cancelled.")


queue.add_command(dead)
