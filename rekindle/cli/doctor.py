"""``rekindle doctor``: what this machine can do, and what to do where it cannot."""

from __future__ import annotations

import dataclasses

import click
from rich.text import Text

from rekindle.cli import damaged, operator
from rekindle.cli.tables import console as console_of
from rekindle.cli.tables import listing, print_json
from rekindle.controller.storage.embedded_redis import find_server
from rekindle.exception import Error
from rekindle.runtime import doctor as room
from rekindle.runtime.check import Check, Status

#: How long a controller may take to answer.
_PATIENCE_S = 3.0
_MARKS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Say what this machine can do, and what to do where it cannot.

    Ends with status 1 when something is missing that restores cannot do without.
    """
    checks = [*room.examine(find_server), *_records()]
    possible = room.restore_possible(checks)
    if as_json:
        findings = [dataclasses.asdict(check) for check in checks]
        works, _fails = room.what_works(checks)
        print_json({"restore_possible": possible, "works": works, "checks": findings})
    else:
        _show(checks, possible)
    click.get_current_context().exit(0 if possible else 1)


def _records() -> list[Check]:
    """What the instance that is up, if there is one, has kept that cannot be read."""
    try:
        if not operator.is_up():
            return []
    except Error:  # the home cannot be used, say: that is the other checks' to tell
        return []
    try:
        found = operator.report(operator.connect(_PATIENCE_S), _PATIENCE_S, pools=False).damaged
    except Error as error:
        return [Check("records", Status.WARN, f"the instance does not say: {error}")]
    return [Check("records", Status.WARN, damaged.sentence(one), one.remedy) for one in found]


def _show(checks: list[Check], possible: bool) -> None:
    works, fails = room.what_works(checks)
    console = console_of(80)
    here = Text(f"Works here ({room.who()}):", "bold")
    console.print(here, f"{', '.join(works) or 'nothing'}.", soft_wrap=True)
    if fails:
        console.print(Text("Does not:", "bold red"), f"{'; '.join(fails)}.", soft_wrap=True)
    console.print()
    rows: list[tuple[str | Text, ...]] = []
    for check in checks:
        mark = Text(check.status.value, _MARKS[check.status.value])
        remedy = Text(f"\n-> {check.remedy}" if check.remedy else "", "dim")
        rows.append((mark, check.name, Text(check.detail) + remedy))
    console.print(listing(rows))
    console.print(
        "Restores are possible on this machine."
        if possible
        else Text("Restores are not possible on this machine", "bold red")
        + Text("; see above what to do.")
    )
