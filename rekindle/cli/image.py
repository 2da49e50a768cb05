"""``rekindle image``: build an app's images, look at the layers of this machine, remove them."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Any

import click

from rekindle import paths
from rekindle.blobs import reach
from rekindle.blobs.lazy import cache
from rekindle.cli.commands import CommandGroup
from rekindle.cli.options import confirm, module_option, yes_option
from rekindle.cli.tables import console, lapsed, print_json, size, table
from rekindle.counted import counted
from rekindle.exception import Error, ImageError, NotFoundError
from rekindle.runtime.images import layer_gc, sharing
from rekindle.runtime.images.layer import Layer
from rekindle.runtime.images.store import LayerStore, mounted
from rekindle.snapshot.budget import parse_size
from rekindle.wire.images import ImageSpec, layers, names

_SHORT = 12


@click.group(cls=CommandGroup)
def image() -> None:
    """Build images; list, inspect and remove their layers."""


@image.command("build")
@click.argument("reference", metavar="FILE[::APP]")
@module_option
@click.option("--force", is_flag=True, help="Build every layer again.")
@click.option("-q", "--quiet", is_flag=True, help="Do not show what the steps print.")
def build_images(reference: str, is_module: bool, force: bool, quiet: bool) -> None:
    """Build the images of an app's functions, without running the app.

    Where REKINDLE_STORE_URL names a store, the layers are put there, too.
    """
    from rekindle.cli import app_refs
    from rekindle.sdk import running
    from rekindle.sdk.images import builds, chain
    from rekindle.sdk.program.registration import image_of

    if force:
        os.environ[chain.FORCE_VARIABLE] = "1"
    app = app_refs.resolve(reference, is_module=is_module)
    found = {
        one: name
        for name, declaration in app.declarations.items()
        if (one := image_of(app, declaration)) is not None and not one.is_host
    }
    if not found:
        raise NotFoundError(
            f"no function of {reference} has an image that is built, as Image.host() is not: give "
            f"one image="
        )

    def show(step: str, line: str) -> None:
        if not line:
            click.echo(f"building {step}")
        elif not quiet:
            click.echo(f"    {line}")

    for one, function in found.items():
        began_s = time.monotonic()
        spec = builds.built(one, running.default_instance, show)
        *_, name = names(spec.steps)
        click.echo(f"{name[:_SHORT]}  {function}  ({time.monotonic() - began_s:.2f} s)")
        if said := _share(spec):
            click.echo(f"    {said}")


def _share(spec: ImageSpec) -> str:
    """Put the layers of an image into the store that nodes share: an agent does it behind the first
    start, and here none may come. What came of it; "" where no store is named."""
    local = LayerStore()
    wanted = [name for _step, name in layers(spec.steps)]
    try:
        blobs = sharing.of_environment()
        if blobs is None:
            return ""
        reach.answer(blobs)
        draft = local.draft(wanted[-1])
        try:
            there = [sharing.push(blobs, local, name, draft.scratch) for name in wanted]
        finally:
            local.give_up(draft)
    except (Error, OSError) as error:
        return f"not put into the store: {error}; the first start in it, or this command, does it"
    if all(there):
        return f"in the store {blobs.url}"
    return (
        f"{there.count(True)} of {counted(len(there), 'layer is', 'layers are')} in the store "
        f"{blobs.url}; it has the others from another build, which stay"
    )


@image.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_layers(as_json: bool) -> None:
    """List layers, each below the one that it stands on: what made it, its size, how much of it is
    here, whether nodes share it through their store, its age."""
    store = LayerStore()
    layers = store.all()
    in_use = mounted([layer.name for layer in layers])
    if as_json:
        rows = (_described(store, layer, in_use) for layer in layers)
        print_json(list(rows))
        return
    if not layers:
        click.echo("no layers")
        return
    made = table(
        *("layer", "step", ">size", ">here", "in store", ">files", ">built", ">used", "in use")
    )
    for layer, depth in _as_trees(layers):
        made.add_row(
            layer.name[:_SHORT],
            "  " * depth + _shortened(layer.title),
            size(_whole_bytes(store, layer)),
            size(_here_bytes(store, layer)),
            "yes" if store.stored(layer.name) is not None else "",
            str(layer.files),
            lapsed(layer.created_s),
            lapsed(store.used_s(layer.name)),
            "yes" if layer.name in in_use else "",
        )
    console().print(made)


@image.command("inspect")
@click.argument("name", metavar="LAYER")
def inspect_layer(name: str) -> None:
    """Print all that is known of a layer, named by the beginning of its name, as JSON."""
    store = LayerStore()
    layer = store.resolve(name)
    known = {one.name: one for one in store.all()}
    chain = [layer]
    while chain[-1].parent in known:
        chain.append(known[chain[-1].parent])
    print_json(
        _described(store, layer, mounted([layer.name]))
        | {
            "chain": [{"name": one.name, "title": one.title} for one in reversed(chain)],
            "settings": dataclasses.asdict(layer.settings),
            "path": str(store.place(layer.name)),
            "log": str(store.log(layer.name)),
        }
    )


@image.command("logs")
@click.argument("name", metavar="LAYER")
def show_log(name: str) -> None:
    """Print what the last build of a layer printed, also of a build that failed."""
    log = LayerStore().resolve_log(name)
    click.echo(log.read_text(encoding="utf-8", errors="replace"), nl=False)


@image.command("rm")
@click.argument("names", metavar="LAYER...", nargs=-1)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Remove every layer, and every copy of local files, that is not in use.",
)
@yes_option
def remove_layers(names: tuple[str, ...], everything: bool, yes: bool) -> None:
    """Remove layers, and those that stand on them. They are built again when they are needed.

    Copies of local files that images were given go with --all: an app that has some is then to be
    run, or deployed, again.
    """
    store = LayerStore()
    if bool(names) == everything:
        raise click.UsageError("name the layers to remove, or give --all")
    if everything:
        confirm("Remove every layer, and every copy of local files, that is not in use?", yes=yes)
    layers = store.all()
    roots = layers if everything else [store.resolve(name) for name in names]
    chosen = [one for root in roots for one in (*layer_gc.standing_on(layers, root.name), root)]
    wanted = list({one.name: one for one in chosen}.values())
    in_use = mounted([one.name for one in wanted])
    staying = {
        one.name
        for one in wanted
        if one.name in in_use
        or any(above.name in in_use for above in layer_gc.standing_on(layers, one.name))
    }
    if staying and not everything:
        used = ", ".join(f"{n[:_SHORT]}" for n in sorted(in_use))
        raise ImageError(
            f"nothing is removed: a runner has {used}, and what stands on a layer goes with it; "
            f"end what runs there (`rekindle container list`), or name other layers"
        )
    for layer in wanted:
        if layer.name not in staying:
            store.remove(layer.name)
            click.echo(f"removed {layer.name[:_SHORT]} {_shortened(layer.title)}")
    for files in layer_gc.remove_files(store) if everything else ():
        click.echo(f"removed {files.name[:_SHORT]} {files.title} ({size(files.size_bytes)})")


@image.command("gc")
@click.option("--budget", metavar="SIZE", help="Keep this much, 10G say, this once.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
def collect_layers(budget: str | None, dry_run: bool) -> None:
    """Remove layers until the rest is within the budget, least recently used first.

    None goes that a runner has, or that another stands on; without --budget, none that was used in
    the last 10 minutes, as something may be about to start from it. A build does the same when it
    ends. With --budget, copies of local files that images were given count and go, too; an app that
    has some that went is to be run, or deployed, again.
    """
    store = LayerStore()
    limit = parse_size(budget) if budget else None
    for one in layer_gc.collect(store, limit, dry_run=dry_run):
        word = "would remove" if dry_run else "removed"
        click.echo(f"{word} {one.name[:_SHORT]} {_shortened(one.title)} ({size(one.size_bytes)})")
    found = layer_gc.usage(store)
    limit = found.budget_bytes if limit is None else limit
    layers = counted(found.layers, "layer")
    if budget and found.files_bytes:
        taken = found.size_bytes + found.files_bytes
        what = f"{layers} and local files ({size(found.files_bytes)}), {size(taken)}"
    else:
        taken, what = found.size_bytes, f"{layers}, {size(found.size_bytes)}"
    click.echo(f"{what} of {size(limit)}")
    if taken > limit and not dry_run:
        minutes = layer_gc.LATELY_S / 60
        lately = f"what was used in the last {minutes:.0f} minutes (--budget SIZE spares none), "
        click.echo(
            f"What is beyond that stays: {'' if budget else lately}what a runner has, and the "
            f"layers below."
        )


@image.command("du")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def disk_usage(as_json: bool) -> None:
    """Print what layers, local files and caches of builds take, the budget, and what is free."""
    store = LayerStore()
    found = layer_gc.usage(store)
    layers = store.all()
    arriving_bytes = sum(_arrived_bytes(store, layer) for layer in layers)
    stored = sum(store.stored(layer.name) is not None for layer in layers)
    if as_json:
        more = {"arriving_bytes": arriving_bytes, "stored_layers": stored}
        print_json(dataclasses.asdict(found) | more)
        return
    for layer in sorted(layers, key=lambda one: _here_bytes(store, one), reverse=True):
        here = size(_here_bytes(store, layer))
        click.echo(f"{here:>10}  {layer.name[:_SHORT]}  {_shortened(layer.title)}")
    kept = counted(found.layers, "layer")
    click.echo(f"{size(found.size_bytes):>10}  {kept}, {stored} in a store, too")
    click.echo(f"{size(arriving_bytes):>10}  of layers that are on their way from there")
    click.echo(f"{size(found.files_bytes):>10}  copies of local files that images were given")
    click.echo(f"{size(found.cache_bytes):>10}  downloads and tools, kept for the next build")
    click.echo(f"{size(found.budget_bytes):>10}  budget of the layers")
    click.echo(f"{size(found.free_bytes):>10}  free on the disk")


def _here_bytes(store: LayerStore, layer: Layer) -> int:
    """What of a layer is on this machine, also of one that is on its way."""
    return store.local_bytes(layer) or _arrived_bytes(store, layer)


def _whole_bytes(store: LayerStore, layer: Layer) -> int:
    """What a layer takes on this machine once all of it is here: one file, where it came from a
    store, whose size is not that of the files in it."""
    stored = store.stored(layer.name)
    if not layer.packing or stored is None:
        return layer.size_bytes
    return store.local_bytes(layer) or stored.size


def _arrived_bytes(store: LayerStore, layer: Layer) -> int:
    stored = store.stored(layer.name)
    if not layer.packing or stored is None or store.packed(layer.name).exists():
        return 0
    return cache.arrived_bytes(paths.lazy_dir(), stored.blob)


def _described(store: LayerStore, layer: Layer, in_use: set[str]) -> dict[str, Any]:
    known = dataclasses.asdict(layer)
    del known["settings"]
    stored = store.stored(layer.name)
    return known | {
        "used_s": store.used_s(layer.name),
        "in_use": layer.name in in_use,
        "local_bytes": store.local_bytes(layer),
        "here_bytes": _here_bytes(store, layer),
        "stored": dataclasses.asdict(stored) if stored is not None else None,
    }


def _as_trees(layers: list[Layer]) -> list[tuple[Layer, int]]:
    """Each layer after the one that it stands on, and how deep it is."""
    known = {layer.name for layer in layers}
    found: list[tuple[Layer, int]] = []

    def add(layer: Layer, depth: int) -> None:
        found.append((layer, depth))
        for one in layers:
            if one.parent == layer.name:
                add(one, depth + 1)

    for layer in layers:
        if layer.parent not in known:
            add(layer, 0)
    return found


def _shortened(title: str) -> str:
    return title if len(title) <= 70 else title[:67] + "..."
