"""``rekindle environment``: name spaces of apps, secrets, volumes, Dicts and Queues."""

from __future__ import annotations

from collections.abc import Mapping

import click

from rekindle.cli import operator, tables
from rekindle.cli.commands import CommandGroup
from rekindle.cli.options import confirm, yes_option
from rekindle.exception import InvalidError
from rekindle.sdk import checks, volume_waits
from rekindle.sdk.environment import Environment, unknown
from rekindle.volumes.registry import Registry
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.environment import DEFAULT_ENVIRONMENT

#: Deployed apps get new runners, or end: exit hooks have half a minute.
_PATIENCE_S = 60.0
_KINDS = ("apps", "secrets", "volumes", "dicts", "queues")


@click.group(cls=CommandGroup)
def environment() -> None:
    """Look at environments: name spaces of apps, secrets, volumes, Dicts and Queues.

    `--env NAME` or $REKINDLE_ENVIRONMENT chooses one; what is put into it makes it. "main" is
    always there.
    """


@environment.command("list")
@tables.json_option
def list_(as_json: bool) -> None:
    """Show all environments, and how much lies in them."""
    rows = _rows(_known())
    if as_json:
        tables.print_json(list(rows.values()))
        return
    table = tables.table("Environment", *(f">{kind.capitalize()}" for kind in _KINDS))
    for name, row in rows.items():
        table.add_row(name, *(str(row[kind]) for kind in _KINDS))
    tables.console().print(table)


@environment.command()
@click.argument("name")
def create(name: str) -> None:
    """Make an empty environment."""
    operator.connect()
    Environment.objects.create(name)
    click.echo(f"Created the environment {name}.")


@environment.command()
@click.argument("name")
@yes_option
def delete(name: str, yes: bool) -> None:
    """End and remove all that is in an environment, and the environment."""
    if name == DEFAULT_ENVIRONMENT:
        raise InvalidError(f"the environment {name} is always there; it cannot be deleted")
    row = _row_of(name, _known())
    counts = {kind: row[kind] for kind in _KINDS if row[kind]}
    held = ", ".join(map(_counted, counts, counts.values())) or "nothing in it"
    confirm(f"Delete the environment {name} for good, with {held}?", yes=yes)
    Environment.objects.delete(name)
    click.echo(f"Deleted the environment {name}, with {held}.")


@environment.command()
@click.argument("name")
@click.argument("new_name")
def rename(name: str, new_name: str) -> None:
    """Call an environment otherwise; the apps that are deployed in it get new runners.

    Programs that have the former name in their code, or in $REKINDLE_ENVIRONMENT, need the new one.
    """
    for one in (name, new_name):
        checks.name("the environment name", one)
    if name == DEFAULT_ENVIRONMENT:
        raise InvalidError(f"the environment {name} is always there; it cannot be renamed")
    known = _known()
    _row_of(name, known)
    if name in known:  # volumes are none of the controller's business
        request = pb.RenameEnvironmentRequest(name=name, new_name=new_name)
        client = operator.connect()
        operator.request(client, "RenameEnvironment", request, pb.EnvironmentInfo, _PATIENCE_S)
    Registry.default().rename_environment(name, new_name)
    click.echo(f"The environment {name} is called {new_name} now.")


def _known() -> dict[str, pb.EnvironmentInfo]:
    """What the controller knows of."""
    request = pb.ListEnvironmentsRequest()
    client = operator.connect()
    reply = operator.request(client, "ListEnvironments", request, pb.ListEnvironmentsReply)
    return {one.name: one for one in reply.environments}


def _rows(known: Mapping[str, pb.EnvironmentInfo]) -> dict[str, dict[str, object]]:
    """All that there are, with their volumes."""
    with volume_waits.told():
        volumes = Registry.default().environments()
    found: dict[str, dict[str, object]] = {}
    for name in (*known, *sorted(set(volumes) - set(known))):
        info = known.get(name, pb.EnvironmentInfo())
        found[name] = {
            "name": name,
            "created": info.created or None,
            "apps": info.apps,
            "secrets": info.secrets,
            "volumes": volumes.get(name, 0),
            "dicts": info.dicts,
            "queues": info.queues,
        }
    return found


def _row_of(name: str, known: Mapping[str, pb.EnvironmentInfo]) -> dict[str, object]:
    rows = _rows(known)
    if name not in rows:
        raise unknown(name, rows)
    return rows[name]


def _counted(kind: str, count: object) -> str:
    return f"1 {kind.removesuffix('s')}" if count == 1 else f"{count} {kind}"
