"""``rekindle snapshot``: list, inspect, verify and remove the snapshots of this machine's store."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import click
from rich.text import Text

from rekindle import paths
from rekindle.cli.commands import CommandGroup
from rekindle.cli.options import confirm, yes_option
from rekindle.cli.tables import console, lapsed, print_json, size, table
from rekindle.counted import counted
from rekindle.exception import CriuNotFoundError, NotFoundError, SnapshotError
from rekindle.snapshot import criu, machine, validate, verify
from rekindle.snapshot.budget import parse_size
from rekindle.snapshot.machine import Machine
from rekindle.snapshot.store import Entry, SnapshotStore


@click.group(cls=CommandGroup)
def snapshot() -> None:
    """List, inspect, verify and remove snapshots."""


@snapshot.command("ls")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_snapshots(as_json: bool) -> None:
    """List snapshots: size, how much is mapped, age, whether they fit here, why they were made."""
    here, no_criu = _here()
    rows = [_describe(entry, here, no_criu) for entry in _store().list()]
    if as_json:
        print_json(rows)
    elif rows:
        _show_table(rows)
    else:
        click.echo("no snapshots")


@snapshot.command("inspect")
@click.argument("key", metavar="KEY_OR_PREFIX")
def inspect_snapshot(key: str) -> None:
    """Print all that is known about a snapshot, as JSON, after a full check of its files."""
    store = _store()
    name = store.resolve(key)
    here, no_criu = _here()
    entry = next((entry for entry in store.list() if entry.key == name), None)
    if entry is None:
        raise NotFoundError(f"snapshot {name} was removed just now")
    known = _describe(entry, here, no_criu, full=True)
    known["path"] = str(entry.path)
    if entry.snapshot is not None:
        known["mapping"] = entry.snapshot.manifest.mapping
        manifest = json.loads(entry.snapshot.manifest.to_json())
        del manifest["mapping"], manifest["not_mapped"]
        manifest["loaded_files"] = len(manifest["loaded_files"])
        known["manifest"] = manifest
    print_json(known)


@snapshot.command("rm")
@click.argument("keys", metavar="KEY...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Remove every snapshot.")
@yes_option
def remove_snapshots(keys: tuple[str, ...], everything: bool, yes: bool) -> None:
    """Remove snapshots, named by key or by the beginning of one.

    The next start of the function makes a new snapshot.
    """
    store = _store()
    chosen = _chosen(store, keys, everything, "remove")
    if not chosen:
        click.echo("no snapshots")
    elif everything:
        confirm("Remove every snapshot?", yes=yes)
    for name in chosen:
        click.echo(f"removed {name} ({size(store.remove(name))})")


@snapshot.command("verify")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Verify every snapshot.")
def verify_snapshots(keys: tuple[str, ...], everything: bool) -> None:
    """Read snapshots from disk as a whole, and compare them with what was written.

    Exits with status 1 if one is damaged; such a one is not restored any more.
    """
    store = _store()
    bad = 0
    for name in _chosen(store, keys, everything, "verify"):
        finding = verify.verify(store, name)
        if finding is None:
            click.echo(f"{name}  removed meanwhile")
        elif finding.problem:
            bad += 1
            click.echo(f"{name}  bad: {finding.problem}")
        else:
            seconds = finding.elapsed_ms / 1e3
            click.echo(f"{name}  good ({size(finding.read_bytes)} in {seconds:.1f} s)")
    if bad:
        click.get_current_context().exit(1)


def _chosen(store: SnapshotStore, keys: tuple[str, ...], everything: bool, what: str) -> list[str]:
    """The snapshots that are named, each once. All are looked up before anything is done."""
    if bool(keys) == everything:
        raise click.UsageError(f"name the snapshots to {what}, or give --all")
    names = [entry.key for entry in store.list()] if everything else map(store.resolve, keys)
    return list(dict.fromkeys(names))


@snapshot.command("gc")
@click.option("--budget", metavar="SIZE", help="Keep this much, 10G say, this once.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
def collect_snapshots(budget: str | None, dry_run: bool) -> None:
    """Remove snapshots until the rest is within the budget, least recently used first.

    None goes that a runner uses. The agent does the same after each snapshot that it makes.
    """
    store = _store()
    limit = parse_size(budget) if budget else None
    for entry, freed in store.gc(limit, dry_run=dry_run):
        word = "would remove" if dry_run else "removed"
        click.echo(
            f"{word} {entry.key} {entry.app}.{entry.function} "
            f"({size(freed)}, last used {lapsed(entry.last_used)} ago)"
        )
    usage = store.usage()
    limit = usage.budget_bytes if limit is None else limit
    click.echo(f"{counted(usage.snapshots, 'snapshot')}, {size(usage.size_bytes)} of {size(limit)}")
    if usage.size_bytes > limit and not dry_run:
        click.echo("what is left is in use")


@snapshot.command("du")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def disk_usage(as_json: bool) -> None:
    """Print what snapshots take on disk, the budget, and what is free."""
    store = _store()
    entries, usage = store.list(), store.usage()
    if as_json:
        keys = ("key", "size_bytes", "shared_bytes", "last_used", "in_use")
        rows = [{key: getattr(entry, key) for key in keys} for entry in entries]
        print_json({"snapshots": rows, "total": dataclasses.asdict(usage)})
        return
    for entry in sorted(entries, key=lambda entry: entry.last_used, reverse=True):
        notes = [f"used {lapsed(entry.last_used)} ago"]
        if entry.shared_bytes:
            notes.append(f"{size(entry.shared_bytes)} of it shared")
        if entry.in_use:
            notes.append("in use")
        click.echo(f"{size(entry.size_bytes):>10}  {entry.key}  {', '.join(notes)}")
    shared = f", {size(usage.shared_bytes)} saved by sharing" if usage.shared_bytes else ""
    click.echo(f"{size(usage.size_bytes):>10}  in all{shared}")
    click.echo(f"{size(usage.budget_bytes):>10}  budget")
    click.echo(f"{size(usage.free_bytes):>10}  free on the disk")


def _store() -> SnapshotStore:
    place = paths.snapshots_dir()
    try:
        store = SnapshotStore(place)
        os.scandir(place).close()  # all that these commands do begins with a look at what is there
        return store
    except OSError as error:
        raise SnapshotError(
            f"{place}, where snapshots are kept, cannot be used ({error.strerror}): mend that, or "
            f"set REKINDLE_HOME to another directory"
        ) from error


def _here() -> tuple[Machine | None, str]:
    """This machine, or why nothing can be restored on it."""
    try:
        return machine.here(criu.find()), ""
    except CriuNotFoundError as error:
        return None, str(error)


def _describe(
    entry: Entry, here: Machine | None, no_criu: str, *, full: bool = False
) -> dict[str, Any]:
    problem = entry.problem or _problem(entry, here, no_criu, full)
    snapshot, manifest = entry.snapshot, entry.snapshot and entry.snapshot.manifest
    mapped = snapshot is not None and snapshot.is_mapped
    keys = ("key", "size_bytes", "created", "last_used", "in_use")
    return {key: getattr(entry, key) for key in keys} | {
        "app": manifest.app if manifest else "",
        "function": manifest.function if manifest else "",
        "mapped": mapped,
        "mapped_bytes": manifest.mapping["mapped_bytes"] if manifest and mapped else 0,
        "not_mapped_because": snapshot.why_not_mapped if snapshot else "",
        "valid": not problem,
        "reason": problem.removeprefix(f"snapshot {entry.key}: "),
        "made_because": manifest.made_because if manifest else [],
    }


def _problem(entry: Entry, here: Machine | None, no_criu: str, full: bool) -> str:
    if here is None or entry.snapshot is None:
        return no_criu
    try:
        validate.validate_here(entry.snapshot, here, full=full)
    except SnapshotError as error:
        return str(error)
    return ""


def _show_table(rows: list[dict[str, Any]]) -> None:
    made = table("key", "app", "function", ">size", ">mapped", ">age", "valid", "made because")
    for row in rows:
        made.add_row(
            row["key"],
            row["app"],
            row["function"],
            size(row["size_bytes"]),
            size(row["mapped_bytes"]) if row["mapped"] else "no",
            lapsed(row["created"]),
            Text("yes", "green")
            if row["valid"]
            else Text("no", "red") + Text(f": {row['reason']}"),
            "; ".join(row["made_because"]),
        )
    console().print(made)
