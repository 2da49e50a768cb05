"""``rekindle dict`` and ``rekindle queue``: what programs share by name, seen from outside.

Values are unpickled here, by who asks to see them: never by the controller.
"""

from __future__ import annotations

import ast
import contextlib
from typing import Any

import click

from rekindle.cli import operator
from rekindle.cli.commands import CommandGroup
from rekindle.cli.options import confirm_loss, env_option, yes_option
from rekindle.cli.shared_objects import operations
from rekindle.cli.tables import ago, console, json_option, listing, print_json, size, table
from rekindle.exception import NotFoundError
from rekindle.sdk.local import choosing
from rekindle.sdk.objects.dict import Dict
from rekindle.sdk.objects.handle import Handle, ObjectInfo
from rekindle.sdk.objects.queue import Queue
from rekindle.wire import rekindle_pb2 as pb

_CONTEXT = {"help_option_names": ["-h", "--help"]}
_name = click.argument("name")


@click.group("dict", cls=CommandGroup, context_settings=_CONTEXT)
def dict_() -> None:
    """Look at Dicts, and change what is in them."""


@click.group(cls=CommandGroup, context_settings=_CONTEXT)
def queue() -> None:
    """Look at Queues, and change what is in them.

    What waits to be run by functions is shown by `rekindle inputs`.
    """


# ---- both ----------------------------------------------------------------------------------------


def _list(kind: type[Dict] | type[Queue], env: str | None, as_json: bool) -> None:
    report = operator.report(operator.connect(), pools=False)
    known = {one.object_id: one for one in report.objects.objects}
    rows: list[tuple[Handle, ObjectInfo, int, pb.ObjectStatus]] = []
    for one in kind.objects.list(environment_name=env):
        with contextlib.suppress(NotFoundError):  # deleted since: it is not in the list any more
            count = one.len(total=True) if isinstance(one, Queue) else one.len()
            rows.append((one, one.info(), count, known.get(one.object_id, pb.ObjectStatus())))
    if as_json:
        print_json([_row(shown, info, count, more) for shown, info, count, more in rows])
        return
    of_queue = kind is Queue
    queue_columns = (">partitions", ">waiting") if of_queue else ()
    made = table("name", ">len", ">size", *queue_columns, "done", "made", "by", "id")
    for shown, info, count, more in rows:
        made.add_row(
            *(str(shown.name), str(count), size(more.size_bytes)),
            *((str(more.partitions), str(more.waiting)) if of_queue else ()),
            operations(more),
            ago(info.created_at.timestamp()),
            *(info.created_by or "", shown.object_id),
        )
    console().print(made if rows else f"There is no {kind.__name__} with a name.")


def _row(one: Handle, info: ObjectInfo, count: int, more: pb.ObjectStatus) -> dict[str, Any]:
    row = {
        "name": one.name,
        "id": one.object_id,
        "created_at": info.created_at.isoformat(),
        "created_by": info.created_by,
        "len": count,
        "bytes": more.size_bytes,
        "operations": dict(more.operations),
    }
    if isinstance(one, Queue):
        row |= {"partitions": more.partitions, "waiting": more.waiting}
    return row


def _create(kind: type[Dict] | type[Queue], name: str, env: str | None) -> None:
    kind.objects.create(name, environment_name=env)
    click.echo(f"{kind.__name__} {name!r} is there.")


def _delete(
    kind: type[Dict] | type[Queue], name: str, env: str | None, yes: bool, missing: bool
) -> None:
    choosing.existing()  # nothing is asked where no instance is up
    question = f"Delete {kind.__name__} {name!r} and all that is in it?"
    found = kind.from_name(name, environment_name=env)
    confirm_loss(question, found.info, yes=yes, missing_ok=missing)
    kind.objects.delete(name, allow_missing=missing, environment_name=env)
    click.echo(f"{kind.__name__} {name!r} is deleted.")


def _add_common(group: click.Group, kind: type[Dict] | type[Queue]) -> None:
    what = kind.__name__

    @group.command("list", help=f"List the {what}s that have names.")
    @env_option
    @json_option
    def list_(env: str | None, as_json: bool) -> None:
        _list(kind, env, as_json)

    @group.command(help=f"Make a {what}.")
    @_name
    @env_option
    def create(name: str, env: str | None) -> None:
        _create(kind, name, env)

    @group.command(help=f"Delete a {what} and all that is in it.")
    @_name
    @env_option
    @yes_option
    @click.option("--allow-missing", "missing", is_flag=True, help="Do not fail if there is none.")
    def delete(name: str, env: str | None, yes: bool, missing: bool) -> None:
        _delete(kind, name, env, yes, missing)


_add_common(dict_, Dict)
_add_common(queue, Queue)


# ---- Dict ----------------------------------------------------------------------------------------


def _parsed(key: str, number: bool, as_repr: bool) -> Any:
    if number and as_repr:
        raise click.UsageError("--int and --repr: one of them")
    try:
        return int(key) if number else ast.literal_eval(key) if as_repr else key
    except (ValueError, SyntaxError, TypeError):
        what = "whole number" if number else "key as `rekindle dict items --repr` shows it"
        raise click.BadParameter(f"{key!r} is no {what}") from None


def _shown(value: object, as_repr: bool) -> str:
    return repr(value) if as_repr else str(value)


@dict_.command(short_help="Print the value of a key.")
@_name
@click.argument("key")
@click.option("--int", "number", is_flag=True, help="The key is a whole number.")
@click.option("-r", "--repr", "as_repr", is_flag=True, help="The key is as repr() shows it.")
@env_option
def get(name: str, key: str, number: bool, as_repr: bool, env: str | None) -> None:
    """Print the value of a key, which is a string unless --int or --repr says otherwise.

    \b
    rekindle dict get scores --repr "('anna', 7)"
    """
    missing = object()
    found = Dict.from_name(name, environment_name=env).get(_parsed(key, number, as_repr), missing)
    if found is missing:
        raise NotFoundError(
            f"Dict {name!r} has no key {key!r}; `rekindle dict items {name} --repr` shows some, "
            f"`get --repr` takes them so"
        )
    click.echo(str(found))


@dict_.command(short_help="Print keys and values.")
@_name
@click.argument("n", type=click.IntRange(min=1), default=20)
@click.option("-a", "--all", "every", is_flag=True, help="All of them, not the first N.")
@click.option("-r", "--repr", "as_repr", is_flag=True, help="As repr() shows them.")
@env_option
@json_option
def items(name: str, n: int, every: bool, as_repr: bool, env: str | None, as_json: bool) -> None:
    """Print the first N keys and values (20), in no order.

    With --json all as strings.
    """
    rows: list[tuple[str, str]] = []
    more = False
    for key, value in Dict.from_name(name, environment_name=env).items():
        if len(rows) >= n and not every:
            more = True
            break
        rows.append((_shown(key, as_repr), _shown(value, as_repr)))
    if as_json:
        print_json([{"key": key, "value": value} for key, value in rows])
        return
    made = table("key", "value")
    for row in rows:
        made.add_row(*row)
    console().print(made if rows else "There is nothing in it.")
    if more:
        click.echo("There are more; --all shows them.")


@dict_.command("clear", short_help="Take everything out of a Dict.")
@_name
@env_option
@yes_option
def clear_dict(name: str, env: str | None, yes: bool) -> None:
    """Take everything out of a Dict."""
    choosing.existing()  # nothing is asked where no instance is up
    held = Dict.from_name(name, environment_name=env)
    confirm_loss(f"Take everything out of Dict {name!r}?", held.info, yes=yes)
    held.clear()
    click.echo(f"Dict {name!r} is empty.")


# ---- Queue ---------------------------------------------------------------------------------------

_partition_option = click.option("-p", "--partition", default=None, help="Which partition.")
_total_option = click.option("-t", "--total", is_flag=True, help="All partitions.")


@queue.command("clear", short_help="Take everything out of a partition.")
@_name
@_partition_option
@click.option("-a", "--all", "every", is_flag=True, help="Of all partitions.")
@env_option
@yes_option
def clear_queue(name: str, partition: str | None, every: bool, env: str | None, yes: bool) -> None:
    """Take everything out of one partition (-p; else the one without a name), or of all."""
    choosing.existing()  # nothing is asked where no instance is up
    what = f"Queue {name!r}"
    if not every:
        where = "the partition without a name" if partition is None else f"partition {partition!r}"
        what = f"{where} of {what}"
    held = Queue.from_name(name, environment_name=env)
    confirm_loss(f"Take everything out of {what}?", held.info, yes=yes)
    held.clear(partition=partition, all=every)
    click.echo(f"{what[0].upper()}{what[1:]} is empty.")
    if not every and (left := held.len(total=True)):
        click.echo(f"Other partitions have {left} more; --all clears them, too.")


@queue.command("len", short_help="Print how many values there are.")
@_name
@_partition_option
@_total_option
@env_option
@json_option
def length(name: str, partition: str | None, total: bool, env: str | None, as_json: bool) -> None:
    """Print how many values there are."""
    found = Queue.from_name(name, environment_name=env).len(partition=partition, total=total)
    print_json(found) if as_json else click.echo(found)


@queue.command(short_help="Print the next values; they stay.")
@_name
@click.argument("n", type=click.IntRange(min=1), default=1)
@_partition_option
@env_option
@json_option
def peek(name: str, n: int, partition: str | None, env: str | None, as_json: bool) -> None:
    """Print the next N values (1); they stay in the Queue."""
    found: list[str] = []
    for value in Queue.from_name(name, environment_name=env).iterate(partition=partition):
        found.append(str(value))
        if len(found) >= n:
            break
    if as_json:
        print_json(found)
        return
    console().print(listing([(value,) for value in found]) if found else "There is nothing in it.")
