"""``rekindle volume``: volumes by name, and the files in them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import click

from rekindle.cli.commands import CommandGroup
from rekindle.cli.options import confirm_loss, env_option, yes_option
from rekindle.cli.tables import ago, console, json_option, print_json, size, table, utc
from rekindle.exception import Error, InvalidError
from rekindle.sdk.environments import environment_of
from rekindle.sdk.volume import Volume
from rekindle.sdk.volume_upload import put_all_below
from rekindle.shown_url import without_password
from rekindle.volumes.registry import Registry
from rekindle.volumes.tree import FileEntry, FileEntryType, clean


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def volume() -> None:
    """Keep folders by name, for rekindle.Volume.from_name, and work with their files.

    No instance needs to be up.
    """


def _named(name: str, env: str | None) -> Volume:
    return Volume.from_name(name, environment_name=env)


@volume.command("list")
@env_option
@json_option
def list_(env: str | None, as_json: bool) -> None:
    """Show names, ages and stores."""
    from rekindle.sdk import volume_place

    found = volume_place.listed(environment_of(env))
    if as_json:
        print_json(
            [
                {
                    "name": one.name,
                    "environment": one.environment,
                    "id": one.object_id,
                    "created": utc(one.created_at.timestamp()),
                    "url": without_password(one.url),
                }
                for one in found
            ]
        )
        return
    made = table("name", "made", "store", "id")
    for one in found:
        made.add_row(
            one.name,
            ago(one.created_at.timestamp()),
            without_password(one.url) or "-",
            one.object_id,
        )
    console().print(made if found else f"No volumes in {environment_of(env)}.")
    for error in Registry.default().damaged(environment_of(env)):
        click.echo(str(error), err=True)


@volume.command()
@click.argument("name")
@click.option("--url", default="", help="A folder of a store (fsspec) that has its files, too.")
@env_option
def create(name: str, url: str, env: str | None) -> None:
    """Make an empty volume."""
    Volume.objects.create(name, url=url, environment_name=env)
    click.echo(f'Use it with volumes={{"/data": rekindle.Volume.from_name("{name}")}}.')


@volume.command()
@click.argument("name")
@click.option("--allow-missing", is_flag=True, help="Do not fail if there is none.")
@yes_option
@env_option
def delete(name: str, allow_missing: bool, yes: bool, env: str | None) -> None:
    """Remove a volume with all its files. What lies in its store stays there."""
    question = f"Remove the volume {name} with all its files?"
    confirm_loss(question, _named(name, env).info, yes=yes, missing_ok=allow_missing)
    Volume.objects.delete(name, allow_missing=allow_missing, environment_name=env)
    click.echo(f"{name} is gone.")


@volume.command()
@click.argument("name")
@click.argument("new_name")
@env_option
def rename(name: str, new_name: str, env: str | None) -> None:
    """Give a volume another name."""
    Volume.rename(name, new_name, environment_name=env)
    click.echo(f"{name} is called {new_name} now.")


@volume.command("ls")
@click.argument("name", required=False)
@click.argument("path", default="/")
@click.option("-r", "--recursive", is_flag=True, help="Show what lies below, too.")
@env_option
@json_option
@click.pass_context
def ls(
    ctx: click.Context,
    name: str | None,
    path: str,
    recursive: bool,
    env: str | None,
    as_json: bool,
) -> None:
    """Show the files of a directory; without NAME, the volumes."""
    if name is None:
        ctx.invoke(list_, env=env, as_json=as_json)
        return
    found = _named(name, env).listdir(path, recursive=recursive)
    if as_json:
        print_json([vars(one) | {"type": one.type.value} for one in found])
        return
    made = table("file", ">size", "changed")
    for one in found:
        shown = f"{one.path}/" if one.type is FileEntryType.DIRECTORY else one.path
        bytes_ = size(one.size) if one.type is FileEntryType.FILE else "-"
        made.add_row(shown, bytes_, ago(one.mtime))
    console().print(made if found else "No files.")


@volume.command(short_help="Copy files out of a volume.")
@click.argument("name")
@click.argument("path")
@click.argument("target", default=".")
@click.option("-f", "--force", is_flag=True, help="Replace files that are there.")
@env_option
def get(name: str, path: str, target: str, force: bool, env: str | None) -> None:
    """Copy a file or a directory out of a volume, to TARGET (-: standard output)."""
    held = _named(name, env)
    if target == "-":
        for piece in held.read_file(path):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    inside = path.strip("/")
    listed = held.listdir(path, recursive=True)
    single = len(listed) == 1 and listed[0].path == inside
    for one in listed:
        if one.type is not FileEntryType.FILE:
            if one.type is not FileEntryType.DIRECTORY:
                click.echo(f"{one.path} is left out: it is no plain file.", err=True)
            continue
        with _of_this_machine(f"{target} cannot be written to"):
            place = _place(one, inside, Path(target), single=single)
        with _of_this_machine(f"{place} cannot be written"):
            _fetch(held, one, place, force=force)


@contextlib.contextmanager
def _of_this_machine(what: str) -> Iterator[None]:
    """Errors of files outside the volume as ours; those of its own files are that."""
    try:
        yield
    except (Error, BrokenPipeError):
        raise
    except OSError as error:
        raise InvalidError(f"{what}: {error.strerror or error}") from error


def _place(one: FileEntry, inside: str, target: Path, *, single: bool) -> Path:
    name = inside.rpartition("/")[2]
    if single:
        return target / name if target.is_dir() else target
    below = one.path[len(inside) :].strip("/")
    return target / name / below


def _fetch(held: Volume, one: FileEntry, place: Path, *, force: bool) -> None:
    if place.is_dir():
        raise InvalidError(f"{place} is a directory: remove it, or name another TARGET")
    if place.exists() and not force:
        raise InvalidError(f"{place} is there already; --force replaces it")
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.part")
    try:
        with draft.open("wb") as file:
            held.read_file_into_fileobj(one.path, file)
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)


@volume.command(short_help="Copy files into a volume.")
@click.argument("name")
@click.argument("source", type=click.Path(exists=True, allow_dash=True))
@click.argument("path", default="/")
@click.option("-f", "--force", is_flag=True, help="Replace files that are there.")
@env_option
def put(name: str, source: str, path: str, force: bool, env: str | None) -> None:
    """Copy a file (-: standard input) or a directory into a volume, to PATH.

    Into it where that ends with "/"; without PATH, into the volume's top.
    """
    held = _named(name, env)
    sent = _of_this_machine(f"{source} cannot be sent")
    with sent, held.batch_upload(force=force) as batch:
        if source == "-":
            batch.put_file(sys.stdin.buffer, path)
        elif Path(source).is_dir():
            own = Path(os.path.abspath(source)).name if path.endswith("/") else ""
            for left in put_all_below(batch, Path(source), f"{path}{own}"):
                click.echo(f"{left} is left out: it is no plain file.", err=True)
        else:
            batch.put_file(source, path)
    click.echo(f"{source} is in {name}.", err=source == "-")


@volume.command()
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, metavar="SOURCE... TARGET")
@click.option("-r", "--recursive", is_flag=True, help="Copy directories, too.")
@env_option
def cp(name: str, paths: tuple[str, ...], recursive: bool, env: str | None) -> None:
    """Copy files within a volume."""
    if len(paths) < 2:
        raise click.UsageError("give SOURCE and TARGET")
    _named(name, env).copy_files(paths[:-1], paths[-1], recursive=recursive)


@volume.command()
@click.argument("name")
@click.argument("path")
@click.option("-r", "--recursive", is_flag=True, help="Remove a directory with all in it.")
@yes_option
@env_option
def rm(name: str, path: str, recursive: bool, yes: bool, env: str | None) -> None:
    """Remove a file or a directory from a volume."""
    held = _named(name, env)
    question = f"Remove {path} from the volume {name}?"
    confirm_loss(question, partial(_look_for, held, path), yes=yes)
    held.remove_file(path, recursive=recursive)


def _look_for(held: Volume, path: str) -> None:
    """Raises VolumeFileNotFoundError where nothing is there, be it a link that leads nowhere."""
    inside = clean(path)
    listed = held.listdir(inside.rpartition("/")[0] or "/")
    if all(one.path != inside for one in listed):
        held.listdir(path)  # the folder itself; or there is none, and it says so
