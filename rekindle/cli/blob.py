"""``rekindle blob``: the store that nodes share snapshots and layers through, and what may go."""

from __future__ import annotations

import time
from collections.abc import Iterable

import click

from rekindle import paths
from rekindle.blobs import collect, reach
from rekindle.blobs.collect import Named
from rekindle.blobs.store import GRACE_S, BlobStore, open_store
from rekindle.cli.commands import CommandGroup
from rekindle.cli.options import confirm, yes_option
from rekindle.cli.tables import console, duration, json_option, print_json, size, table
from rekindle.counted import counted
from rekindle.exception import InvalidError, NotFoundError

#: So much of a layer's name is shown by `rekindle image`.
SHOWN = 12

_url = click.option("--url", help="The store's URL; REKINDLE_STORE_URL where it is not given.")


@click.group(cls=CommandGroup)
def blob() -> None:
    """Look at the store through which nodes share snapshots and layers; remove what is unnamed."""


@blob.command("list")
@_url
@json_option
def list_blobs(url: str | None, as_json: bool) -> None:
    """List what has a name: what it is, its size, what it takes in the store."""
    store = _store(url)
    named = collect.usage(store).named
    if as_json:
        print_json([_described(one) for one in named])
        return
    if not named:
        click.echo(_not_there(store) or f"nothing has a name in the store {store.url}")
        return
    made = table("KIND", "NAME", "OF", ">SIZE", ">STORED", ">ALONE", "AGE", "")
    for one in sorted(named, key=lambda one: -one.ref.created):
        about = one.ref.about
        made.add_row(
            one.ref.kind,
            one.ref.name,
            "/".join(str(about[p]) for p in ("app", "function", "title") if about.get(p)),
            size(one.size),
            size(one.stored_bytes),
            size(one.own_bytes),
            duration(time.time() - one.ref.created),
            "" if one.is_whole else "NOT WHOLE",
        )
    console().print(made)


@blob.command("du")
@_url
@json_option
def disk_usage(url: str | None, as_json: bool) -> None:
    """Say what the store holds, and what of it nothing names."""
    store = _store(url)
    found = collect.usage(store)
    files = sum(one.size for one in found.named)
    if as_json:
        print_json(
            {
                "there": bool(found.stored_bytes) or not _not_there(store),
                "names": len(found.named),
                "files_bytes": files,
                "stored_bytes": found.stored_bytes,
                "unnamed_bytes": found.unnamed_bytes,
            }
        )
        return
    if not found.stored_bytes and (problem := _not_there(store)):
        click.echo(problem)
        return
    click.echo(
        f"{counted(len(found.named), 'name')}, files of {size(files)}, stored in "
        f"{size(found.stored_bytes)}; {size(found.unnamed_bytes)} that nothing names"
    )


@blob.command("rm")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@_url
@yes_option
def remove(names: tuple[str, ...], url: str | None, yes: bool) -> None:
    """Take names out of the store; `rekindle blob gc` then removes what they alone kept."""
    store = _store(url)
    known = {ref.name: ref for ref in store.refs()}
    meant = list(dict.fromkeys([_meant(name, known, store) for name in names]))
    confirm(f"Take {', '.join(meant)} out of {store.url}, which other nodes may use?", yes=yes)
    for name in meant:
        store.delete_ref(known[name].kind, name)
        click.echo(f"{name} is no longer named; `rekindle blob gc` frees its space")


@blob.command("gc")
@_url
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also what is younger than a day: for a store that nobody puts anything into just now.",
)
def garbage(url: str | None, dry_run: bool, everything: bool) -> None:
    """Remove what nothing names and is older than a day."""
    store = _store(url)
    gone = collect.collect(store, grace_s=0.0 if everything else GRACE_S, dry_run=dry_run)
    if not gone.objects and (problem := _not_there(store)):
        click.echo(problem)
        return
    verb = "would be removed" if dry_run else "removed"
    young = (
        f"; {counted(gone.kept_young, 'more is', 'more are')} too young" if gone.kept_young else ""
    )
    click.echo(f"{counted(gone.objects, 'object')} ({size(gone.freed_bytes)}) {verb}{young}")


def _meant(given: str, known: Iterable[str], store: BlobStore) -> str:
    """The name that is given, or that begins so, as `rekindle image` shows names. Raises
    NotFoundError, and InvalidError where several do."""
    found = [name for name in known if name == given]
    if not found and len(given) >= SHOWN:
        found = [name for name in known if name.startswith(given)]
    if not found:
        raise NotFoundError(f"nothing is called {given} in {store.url}; `rekindle blob list`")
    if len(found) > 1:
        raise InvalidError(f"{given} may be any of {', '.join(sorted(found))}: write more of it")
    return found[0]


def _not_there(store: BlobStore) -> str:
    """That a store has no bucket or folder yet, of one that holds nothing; empty where it has."""
    if reach.is_there(store):
        return ""
    return f"there is no store {store.url}: no such bucket or folder yet"


def _described(one: Named) -> dict[str, object]:
    return {
        "kind": one.ref.kind,
        "name": one.ref.name,
        "app": one.ref.about.get("app", ""),
        "function": one.ref.about.get("function", ""),
        "title": one.ref.about.get("title", ""),
        "size_bytes": one.size,
        "stored_bytes": one.stored_bytes,
        "own_bytes": one.own_bytes,
        "created": one.ref.created,
        "whole": one.is_whole,
    }


def _store(url: str | None) -> BlobStore:
    found = url or paths.shared_store_url()
    if not found:
        raise InvalidError("no store is named: set REKINDLE_STORE_URL, or give --url")
    store = open_store(found)
    reach.answer(store)  # some list what cannot be reached as empty
    return store
