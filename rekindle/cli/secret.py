"""``rekindle secret``: secrets that the instance keeps by name. Values are never shown."""

from __future__ import annotations

import json
import os
import sys
from io import StringIO
from pathlib import Path

import click

from rekindle.cli import operator
from rekindle.cli.commands import CommandGroup
from rekindle.cli.options import confirm_loss, env_option, yes_option
from rekindle.cli.tables import ago, console, json_option, print_json, table, utc
from rekindle.exception import InvalidError, a_or_an
from rekindle.sdk.environments import environment_of
from rekindle.sdk.secret import Secret, SecretObjects
from rekindle.sdk.secret_info import SecretInfo


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
def secret() -> None:
    """Keep secrets by name, for rekindle.Secret.from_name.

    They are stored encrypted, and given to runners that start. No command shows a value.
    """


def _objects() -> SecretObjects:
    operator.connect()  # says what to do where no instance is up
    return Secret.objects


@secret.command("list")
@env_option
@json_option
def list_(env: str | None, as_json: bool) -> None:
    """Show names, variables and ages."""
    from rekindle.sdk import secret_requests
    from rekindle.sdk.calls.callers import BLOCKING, finish

    operator.connect()
    found = finish(secret_requests.listed(BLOCKING, env))
    if as_json:
        print_json([_row(one) for one in found])
        return
    made = table("name", "variables", "changed", "id")
    for one in found:
        changed = ago(one.updated_at.timestamp())
        made.add_row(one.name, ", ".join(one.keys), changed, one.object_id)
    console().print(made if found else f"No secrets in {environment_of(env)}.")


def _row(one: SecretInfo) -> dict[str, object]:
    return {
        "name": one.name,
        "environment": one.environment,
        "id": one.object_id,
        "variables": list(one.keys),
        "created": utc(one.created_at.timestamp()),
        "updated": utc(one.updated_at.timestamp()),
    }


@secret.command(short_help="Keep variables under a name.")
@click.argument("name")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE...]")
@click.option(
    "--from-dotenv", type=click.Path(allow_dash=True), help="Read a .env file (-: stdin)."
)
@click.option(
    "--from-json", type=click.Path(allow_dash=True), help="Read a JSON object (-: stdin)."
)
@click.option("--force", is_flag=True, help="Replace one that is there.")
@env_option
def create(
    name: str,
    pairs: tuple[str, ...],
    from_dotenv: str | None,
    from_json: str | None,
    force: bool,
    env: str | None,
) -> None:
    """Keep variables under a name: KEY=VALUE, or KEY=- to read the value from standard input.

    What stands on a command line is in the shell's history and, while it runs, in the list of
    processes; KEY=- and files are not. On a terminal, KEY=- asks and shows nothing.
    """
    values: dict[str, str | None] = {}
    if from_dotenv is not None:
        values |= _dotenv(from_dotenv)
    if from_json is not None:
        values |= _json(from_json)
    values |= _pairs(pairs)
    if not values:
        raise click.UsageError("give KEY=VALUE, KEY=-, --from-dotenv or --from-json")
    made = _objects().create(name, values, overwrite=force, environment_name=env)
    click.echo(f"{made.name} has {', '.join(made.keys)}.")
    click.echo(f'Use it with secrets=[rekindle.Secret.from_name("{made.name}")].')


@secret.command()
@click.argument("name")
@click.option("--allow-missing", is_flag=True, help="Do not fail if there is none.")
@yes_option
@env_option
def delete(name: str, allow_missing: bool, yes: bool, env: str | None) -> None:
    """Forget a secret. Runners that have it keep it; those that need it start no more."""
    objects = _objects()
    found = Secret.from_name(name, environment_name=env)
    confirm_loss(f"Delete the secret {name}?", found.info, yes=yes, missing_ok=allow_missing)
    objects.delete(name, allow_missing=allow_missing, environment_name=env)
    click.echo(f"{name} is gone.")


@secret.command("rotate-key")
def rotate_key() -> None:
    """Encrypt everything with a new key. The former ones still open, and stay in the key file."""
    click.echo(f"Everything is sealed with a new key, in {_objects().rotate_key()}.")


# ---- where values come from --------------------------------------------------------------------


def _pairs(pairs: tuple[str, ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    asked = [pair.partition("=")[0] for pair in pairs if pair.endswith("=-")]
    if len(asked) > 1 and not sys.stdin.isatty():
        raise click.UsageError(
            f"only one value can come from standard input, not {', '.join(asked)}; "
            f"use --from-json -"
        )
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            # It may be a value that was meant to follow: it is not shown.
            raise click.UsageError("each argument behind the name must be KEY=VALUE or KEY=-")
        values[key] = _typed(key) if value == "-" else value
    return values


def _typed(key: str) -> str:
    if sys.stdin.isatty():
        asked: str = click.prompt(key, hide_input=True)
        return asked
    value = _standard_input(f"{key}=-").removesuffix("\n")
    if not value:
        raise InvalidError(f"{key}=-: nothing came on standard input; {key}= keeps an empty value")
    return value


def _standard_input(wanted_by: str) -> str:
    """All of it, in UTF-8 as files are, whatever the terminal's encoding is. Raises InvalidError,
    which quotes nothing."""
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InvalidError(f"{wanted_by}: no UTF-8, at byte {error.start}") from None
    except OSError as error:
        raise InvalidError(
            f"{wanted_by}: standard input cannot be read: {error.strerror}"
        ) from None
    return text.replace("\r\n", "\n")


def _dotenv(path: str) -> dict[str, str]:
    from rekindle.sdk import dotenv

    if path == "-":
        return dotenv.parse(StringIO(_standard_input("--from-dotenv")), "standard input")
    if not os.path.isfile(path):
        raise InvalidError(f"--from-dotenv: there is no file {path}")
    return dotenv.read(Path(path))


def _json(path: str) -> dict[str, str | None]:
    try:
        is_file = path != "-"
        text = Path(path).read_text("utf-8") if is_file else _standard_input("--from-json")
    except OSError as error:
        raise InvalidError(f"--from-json: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:  # which would quote what was read
        raise InvalidError(f"--from-json: no UTF-8, at byte {error.start}") from None
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:  # its own text would quote nothing, its context might
        raise InvalidError(f"--from-json: no JSON, at line {error.lineno}") from None
    if not isinstance(found, dict):
        raise InvalidError(f"--from-json: a JSON object is wanted, not {a_or_an(type(found))}")
    return found
