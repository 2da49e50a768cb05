"""``rekindle doctor``: what this machine can do, and what to do where it cannot."""

from __future__ import annotations

import dataclasses
import sys

import click
from rich.markup import escape

from rekindle.cli.tables import console as console_of
from rekindle.cli.tables import listing, print_json
from rekindle.controller.storage.embedded_redis import find_server
from rekindle.runtime import doctor as room
from rekindle.runtime.doctor import Check

_MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "fail": "[bold red]fail[/]"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Say what this machine can do, and what to do where it cannot.

    Ends with status 1 when something is missing that restores cannot do without.
    """
    checks = room.examine(find_server)
    possible = room.restore_possible(checks)
    if as_json:
        findings = [dataclasses.asdict(check) for check in checks]
        works, _fails = room.what_works(checks)
        print_json({"restore_possible": possible, "works": works, "checks": findings})
    else:
        _show(checks, possible)
    sys.exit(0 if possible else 1)


def _show(checks: list[Check], possible: bool) -> None:
    works, fails = room.what_works(checks)
    console = console_of(80)
    here = f"Works here ({room.who()})"
    console.print(f"[bold]{here}:[/] {', '.join(works) or 'nothing'}.", soft_wrap=True)
    if fails:
        console.print(f"[bold red]Does not:[/] {'; '.join(fails)}.", soft_wrap=True)
    console.print()
    rows = []
    for check in checks:
        remedy = f"\n[dim]-> {escape(check.remedy)}[/]" if check.remedy else ""
        rows.append((_MARKS[check.status.value], check.name, escape(check.detail) + remedy))
    console.print(listing(rows))
    console.print(
        "Restores are possible on this machine."
        if possible
        else "[bold red]Restores are not possible on this machine[/]; see above what to do."
    )
