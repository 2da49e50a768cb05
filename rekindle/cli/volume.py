"""``rekindle volume``: volumes by name, and the files in them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from rekindle.cli.tables import console, json_option, print_json, since, size, table
from rekindle.exception import InvalidError
from rekindle.sdk.environments import environment_of
from rekindle.sdk.volume import Volume
from rekindle.volumes.tree import EntryType, FileEntry

_env_option = click.option(
    "-e", "--env", "environment", default=None, metavar="NAME", help="The environment (main)."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def volume() -> None:
    """Keep folders by name, for rekindle.Volume.from_name, and work with their files.

    No instance needs to be up.
    """


def _named(name: str, environment: str | None) -> Volume:
    return Volume.from_name(name, environment_name=environment)


@volume.command("list")
@_env_option
@json_option
def list_(environment: str | None, as_json: bool) -> None:
    """Show names, ages and stores."""
    found = Volume.objects.list(environment_name=environment)
    if as_json:
        print_json(
            [
                {
                    "name": one.name,
                    "environment": one.environment,
                    "id": one.object_id,
                    "created": _time(one.created_at),
                    "url": one.url,
                }
                for one in found
            ]
        )
        return
    made = table("name", "made", "store", "id")
    for one in found:
        made.add_row(one.name, since(int(one.created_at * 1e9)), one.url or "-", one.object_id)
    console().print(made if found else f"No volumes in {environment_of(environment)}.")


@volume.command()
@click.argument("name")
@click.option("--url", default="", help="A folder of a store (fsspec) that has its files, too.")
@_env_option
def create(name: str, url: str, environment: str | None) -> None:
    """Make an empty volume."""
    Volume.objects.create(name, url=url, environment_name=environment)
    click.echo(f'Use it with volumes={{"/data": rekindle.Volume.from_name("{name}")}}.')


@volume.command()
@click.argument("name")
@click.option("--allow-missing", is_flag=True, help="It is no error where there is none.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@_env_option
def delete(name: str, allow_missing: bool, yes: bool, environment: str | None) -> None:
    """Remove a volume with all its files. What lies in its store stays there."""
    if not yes and sys.stdin.isatty():
        click.confirm(f"Remove the volume {name} with all its files?", abort=True)
    Volume.objects.delete(name, allow_missing=allow_missing, environment_name=environment)
    click.echo(f"{name} is gone.")


@volume.command()
@click.argument("name")
@click.argument("new_name")
@_env_option
def rename(name: str, new_name: str, environment: str | None) -> None:
    """Give a volume another name."""
    Volume.rename(name, new_name, environment_name=environment)
    click.echo(f"{name} is called {new_name} now.")


@volume.command("ls")
@click.argument("name")
@click.argument("path", default="/")
@click.option("-r", "--recursive", is_flag=True, help="Show what lies below, too.")
@_env_option
@json_option
def ls(name: str, path: str, recursive: bool, environment: str | None, as_json: bool) -> None:
    """Show the files of a directory."""
    found = _named(name, environment).listdir(path, recursive=recursive)
    if as_json:
        print_json([vars(one) | {"type": one.type.value} for one in found])
        return
    made = table("file", ">size", "changed")
    for one in found:
        shown = f"{one.path}/" if one.type is EntryType.DIRECTORY else one.path
        bytes_ = size(one.size) if one.type is EntryType.FILE else "-"
        made.add_row(shown, bytes_, since(one.mtime * 10**9))
    console().print(made if found else "No files.")


@volume.command(short_help="Copy files out of a volume.")
@click.argument("name")
@click.argument("path")
@click.argument("target", default=".")
@click.option("-f", "--force", is_flag=True, help="Replace files that are there.")
@_env_option
def get(name: str, path: str, target: str, force: bool, environment: str | None) -> None:
    """Copy a file or a directory out of a volume, to TARGET (-: standard output)."""
    held = _named(name, environment)
    if target == "-":
        for piece in held.read_file(path):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    inside = path.strip("/")
    listed = held.listdir(path, recursive=True)
    single = len(listed) == 1 and listed[0].path == inside
    for one in listed:
        if one.type is not EntryType.FILE:
            if one.type is not EntryType.DIRECTORY:
                click.echo(f"{one.path} is left out: it is no plain file.", err=True)
            continue
        _fetch(held, one, _place(one, inside, Path(target), single=single), force=force)


def _place(one: FileEntry, inside: str, target: Path, *, single: bool) -> Path:
    name = inside.rpartition("/")[2]
    if single:
        return target / name if target.is_dir() else target
    below = one.path[len(inside) :].strip("/")
    return target / name / below


def _fetch(held: Volume, one: FileEntry, place: Path, *, force: bool) -> None:
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
@_env_option
def put(name: str, source: str, path: str, force: bool, environment: str | None) -> None:
    """Copy a file (-: standard input) or a directory into a volume, to PATH."""
    held = _named(name, environment)
    with held.batch_upload(force=force) as batch:
        if source == "-":
            batch.put_file(sys.stdin.buffer, path)
        elif Path(source).is_dir():
            whole = f"/{Path(source).absolute().name}" if path == "/" else path
            batch.put_directory(source, whole)
        else:
            batch.put_file(source, path)
    click.echo(f"{source} is in {name}.", err=source == "-")


@volume.command()
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, metavar="SOURCE... TARGET")
@click.option("-r", "--recursive", is_flag=True, help="Copy directories, too.")
@_env_option
def cp(name: str, paths: tuple[str, ...], recursive: bool, environment: str | None) -> None:
    """Copy files within a volume."""
    if len(paths) < 2:
        raise click.UsageError("give SOURCE and TARGET")
    _named(name, environment).copy_files(paths[:-1], paths[-1], recursive=recursive)


@volume.command()
@click.argument("name")
@click.argument("path")
@click.option("-r", "--recursive", is_flag=True, help="Remove a directory with all in it.")
@_env_option
def rm(name: str, path: str, recursive: bool, environment: str | None) -> None:
    """Remove a file or a directory from a volume."""
    _named(name, environment).remove_file(path, recursive=recursive)


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
