"""``rekindle damaged``: what an instance has kept that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable

import click

from rekindle.cli import operator, tables
from rekindle.cli.commands import CommandGroup
from rekindle.cli.options import confirm, yes_option
from rekindle.exception import NotFoundError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import as_dict


@click.group(cls=CommandGroup)
def damaged() -> None:
    """Look at records that cannot be read, and set them aside.

    What depends on one is refused until it is put back from a backup, or set aside.
    """


@damaged.command("ls")
@tables.json_option
def list_(as_json: bool) -> None:
    """Show what cannot be read, and what to do."""
    found = _known()
    if as_json:
        tables.print_json([as_dict(one) for one in found])
        return
    for line in lines(found) or ["All that is kept can be read."]:
        click.echo(line)


@damaged.command("rm")
@click.argument("record_id")
@yes_option
def remove(record_id: str, yes: bool) -> None:
    """Set a record aside: it is as if it had never been, but for a copy that is kept in Redis."""
    found = next((one for one in _known() if one.id == record_id), None)
    if found is None:
        raise NotFoundError(f"no damaged record {record_id!r}; `rekindle damaged ls` lists them")
    confirm(f"Set aside what is kept of the {found.kind} {found.name}?", yes=yes)
    request = pb.SetAsideRequest(id=record_id)
    operator.request(operator.connect(), "SetAside", request, pb.DamagedRecord)
    click.echo(f"What was kept of the {found.kind} {found.name} is set aside.")


def _known() -> list[pb.DamagedRecord]:
    return list(operator.report(operator.connect(), pools=False).damaged)


def lines(found: Iterable[pb.DamagedRecord]) -> list[str]:
    """What `rekindle status` says of it."""
    return [f"W{sentence(one)[1:]}:\n  {one.remedy}" for one in found]


def sentence(one: pb.DamagedRecord) -> str:
    """What is wrong with it."""
    return f"what is kept of the {one.kind} {one.name} cannot be read ({one.reason})"
