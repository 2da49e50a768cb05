"""``rekindle snapshot``: list, inspect, verify and remove the snapshots of this machine's store."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rekindle.snapshot.machine import Machine
    from rekindle.snapshot.store import Entry, SnapshotStore

_WIDE = 1000


@click.group()
def snapshot() -> None:
    """List, inspect, verify and remove snapshots."""


@snapshot.command("ls")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_snapshots(as_json: bool) -> None:
    """List snapshots: size, how much is mapped, age, whether they fit here, why they were made."""
    here, no_criu = _here()
    rows = [_describe(entry, here, no_criu) for entry in _store().list()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        _show_table(rows)
    else:
        click.echo("no snapshots")


@snapshot.command("inspect")
@click.argument("key", metavar="KEY_OR_PREFIX")
def inspect_snapshot(key: str) -> None:
    """Print all that is known about a snapshot, as JSON, after a full check of its files."""
    from rekindle.exception import Error

    store = _store()
    try:
        name = store.resolve(key)
    except Error as error:
        raise click.ClickException(str(error)) from error
    here, no_criu = _here()
    entry = next((entry for entry in store.list() if entry.key == name), None)
    if entry is None:
        raise click.ClickException(f"snapshot {name} was removed just now")
    known = _describe(entry, here, no_criu, full=True)
    known["path"] = str(entry.path)
    if entry.snapshot is not None:
        known["mapping"] = entry.snapshot.manifest.mapping
        manifest = json.loads(entry.snapshot.manifest.to_json())
        del manifest["mapping"], manifest["not_mapped"]
        manifest["loaded_files"] = len(manifest["loaded_files"])
        known["manifest"] = manifest
    click.echo(json.dumps(known, indent=2))


@snapshot.command("rm")
@click.argument("keys", metavar="KEY...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Remove every snapshot.")
def remove_snapshots(keys: tuple[str, ...], everything: bool) -> None:
    """Remove snapshots, named by key or by the beginning of one.

    The next start of the function makes its snapshot anew.
    """
    from rekindle.exception import Error

    if bool(keys) == everything:
        raise click.UsageError("name the snapshots to remove, or give --all")
    store = _store()
    try:
        # All names first: a mistyped one removes nothing.
        names = [entry.key for entry in store.list()] if everything else [*map(store.resolve, keys)]
        for name in dict.fromkeys(names):
            freed = store.remove(name)
            click.echo(f"removed {name} ({_size(freed)})")
    except Error as error:
        raise click.ClickException(str(error)) from error


@snapshot.command("verify")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Verify every snapshot.")
def verify_snapshots(keys: tuple[str, ...], everything: bool) -> None:
    """Read snapshots from disk as a whole, and compare them with what was written.

    Exits with status 1 if one is damaged; such a one is not restored any more.
    """
    from rekindle.exception import Error
    from rekindle.snapshot import verify

    if bool(keys) == everything:
        raise click.UsageError("name the snapshots to verify, or give --all")
    store = _store()
    try:
        names = [entry.key for entry in store.list()] if everything else [*map(store.resolve, keys)]
    except Error as error:
        raise click.ClickException(str(error)) from error
    bad = 0
    for name in dict.fromkeys(names):
        finding = verify.verify(store, name)
        if finding is None:
            click.echo(f"{name}  removed meanwhile")
        elif finding.problem:
            bad += 1
            click.echo(f"{name}  bad: {finding.problem}")
        else:
            seconds = finding.elapsed_ms / 1e3
            click.echo(f"{name}  good ({_size(finding.read_bytes)} in {seconds:.1f} s)")
    if bad:
        raise SystemExit(1)


@snapshot.command("gc")
@click.option("--budget", "size", metavar="SIZE", help="Keep this much, 10G say, this once.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
def collect_snapshots(size: str | None, dry_run: bool) -> None:
    """Remove snapshots until the rest is within the budget, least recently used first.

    None goes that a runner uses. The agent does the same after each snapshot that it makes.
    """
    from rekindle.exception import Error
    from rekindle.snapshot.budget import parse_size

    store = _store()
    try:
        removals = store.gc(parse_size(size) if size else None, dry_run=dry_run)
        for gone in removals:
            word = "would remove" if dry_run else "removed"
            age = _age(time.time() - gone.last_used)
            click.echo(
                f"{word} {gone.key} {gone.app}.{gone.function} "
                f"({_size(gone.freed_bytes)}, last used {age} ago)"
            )
        usage = store.usage()
    except Error as error:
        raise click.ClickException(str(error)) from error
    limit = parse_size(size) if size else usage.budget_bytes
    click.echo(f"{usage.snapshots} snapshots, {_size(usage.size_bytes)} of {_size(limit)}")
    if usage.size_bytes > limit and not dry_run:
        click.echo("what is left is in use")


@snapshot.command("du")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def disk_usage(as_json: bool) -> None:
    """Print what snapshots take on disk, the budget, and what is free."""
    from rekindle.exception import Error

    store = _store()
    try:
        entries, usage = store.list(), store.usage()
    except Error as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        rows = [
            {
                "key": entry.key,
                "size_bytes": entry.size_bytes,
                "shared_bytes": entry.shared_bytes,
                "last_used": entry.last_used,
                "in_use": entry.in_use,
            }
            for entry in entries
        ]
        total = dataclasses.asdict(usage)
        click.echo(json.dumps({"snapshots": rows, "total": total}, indent=2))
        return
    for entry in sorted(entries, key=lambda entry: entry.last_used, reverse=True):
        notes = [f"used {_age(time.time() - entry.last_used)} ago"]
        if entry.shared_bytes:
            notes.append(f"{_size(entry.shared_bytes)} of it shared")
        if entry.in_use:
            notes.append("in use")
        click.echo(f"{_size(entry.size_bytes):>10}  {entry.key}  {', '.join(notes)}")
    shared = f", {_size(usage.shared_bytes)} saved by sharing" if usage.shared_bytes else ""
    click.echo(f"{_size(usage.size_bytes):>10}  in all{shared}")
    click.echo(f"{_size(usage.budget_bytes):>10}  budget")
    click.echo(f"{_size(usage.free_bytes):>10}  free on the disk")


def _store() -> SnapshotStore:
    from rekindle import paths
    from rekindle.snapshot.store import SnapshotStore

    return SnapshotStore(paths.snapshots_dir())


def _here() -> tuple[Machine | None, str]:
    """This machine, or why nothing can be restored on it."""
    from rekindle.exception import CriuNotFoundError
    from rekindle.snapshot import criu, machine

    try:
        return machine.here(criu.find()), ""
    except CriuNotFoundError as error:
        return None, str(error)


def _describe(
    entry: Entry, here: Machine | None, no_criu: str, *, full: bool = False
) -> dict[str, Any]:
    problem = entry.problem or _problem(entry, here, no_criu, full)
    manifest = entry.snapshot.manifest if entry.snapshot else None
    mapped, why_not = (
        (entry.snapshot.is_mapped, entry.snapshot.why_not_mapped) if entry.snapshot else (False, "")
    )
    return {
        "key": entry.key,
        "app": manifest.app if manifest else "",
        "function": manifest.function if manifest else "",
        "size_bytes": entry.size_bytes,
        "created": entry.created,
        "last_used": entry.last_used,
        "in_use": entry.in_use,
        "mapped": mapped,
        "mapped_bytes": manifest.mapping["mapped_bytes"] if manifest and mapped else 0,
        "not_mapped_because": why_not,
        "valid": not problem,
        "reason": problem.removeprefix(f"snapshot {entry.key}: "),
        "made_because": manifest.made_because if manifest else [],
    }


def _problem(entry: Entry, here: Machine | None, no_criu: str, full: bool) -> str:
    from rekindle.exception import SnapshotInvalidError
    from rekindle.snapshot import validate

    if here is None or entry.snapshot is None:
        return no_criu
    try:
        validate.validate_here(entry.snapshot, here, full=full)
    except SnapshotInvalidError as error:
        return str(error)
    return ""


def _show_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("key", no_wrap=True)
    for title in ("app", "function"):
        table.add_column(title, overflow="fold")
    for title in ("size", "mapped"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("age", justify="right", no_wrap=True)
    table.add_column("valid", overflow="fold")
    table.add_column("made because", overflow="fold")
    for row in rows:
        valid = "[green]yes[/]" if row["valid"] else f"[red]no[/]: {escape(row['reason'])}"
        table.add_row(
            row["key"],
            escape(row["app"]),
            escape(row["function"]),
            _size(row["size_bytes"]),
            _size(row["mapped_bytes"]) if row["mapped"] else "no",
            _age(time.time() - row["created"]),
            valid,
            escape("; ".join(row["made_because"])),
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)  # a line is a snapshot: grep and awk read it
    console.print(table)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _age(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
