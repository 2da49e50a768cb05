"""``rekindle doctor``: what this machine can do, and what to do where it cannot."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rekindle.runtime.doctor import Check

_MARKS = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "fail": "[bold red]fail[/]"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> None:
    """Say what this machine can do, and what to do where it cannot.

    Ends with status 1 when something is missing that restores cannot do without.
    """
    from rekindle.controller.storage.embedded_redis import find_server
    from rekindle.runtime import doctor as room

    checks = room.examine(find_server)
    possible = room.restore_possible(checks)
    if as_json:
        findings = [dataclasses.asdict(check) for check in checks]
        works, _fails = room.what_works(checks)
        report = {"restore_possible": possible, "works": works, "checks": findings}
        click.echo(json.dumps(report, indent=2))
    else:
        _show(checks, possible)
    sys.exit(0 if possible else 1)


def _show(checks: list[Check], possible: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from rekindle.runtime import doctor as room

    works, fails = room.what_works(checks)
    console = Console()
    here = f"Works here ({room.who()})"
    console.print(f"[bold]{here}:[/] {', '.join(works) or 'nothing'}.", soft_wrap=True)
    if fails:
        console.print(f"[bold red]Does not:[/] {'; '.join(fails)}.", soft_wrap=True)
    console.print()
    table = Table(box=None, show_header=False, padding=(0, 1))
    for _ in range(3):
        table.add_column(overflow="fold")
    for check in checks:
        text = escape(check.detail)
        if check.remedy:
            text += f"\n[dim]-> {escape(check.remedy)}[/]"
        table.add_row(_MARKS[check.status.value], check.name, text)
    console.print(table)
    console.print(
        "Restores are possible on this machine."
        if possible
        else "[bold red]Restores are not possible on this machine[/]; see above what to do."
    )
