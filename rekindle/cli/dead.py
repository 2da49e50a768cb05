"""``rekindle inputs dead``: inputs that were given up; seen, put back on the queue, or dropped."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import click

from rekindle.cli import operator
from rekindle.cli.commands import CommandGroup
from rekindle.cli.options import confirm_loss, environment_option, is_chosen, yes_option
from rekindle.cli.tables import age, console, json_option, listing, print_json, since, size, table
from rekindle.exception import NotFoundError
from rekindle.sdk.connection.client import Client
from rekindle.sdk.environments import environment_of
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.environment import split_name
from rekindle.wire.messages import as_dict

_PAGE = 500
_WIDEST_REASON = 80
#: The greatest number of an entry of a millisecond.
_LAST = (1 << 64) - 1

_FUNCTION = click.option(
    "--function", "name", default="", metavar="NAME", help="Only those of this function, or app."
)
_IDS = click.argument("ids", nargs=-1, metavar="[ID]...")
_ALL = click.option("--all", "every", is_flag=True, help="All dead letters of the environment.")


@click.group(cls=CommandGroup)
def dead() -> None:
    """See to inputs that were given up.

    Of .spawn and .map, an input is given up when its runner was lost too often, no runner could be
    started for it, or all its retries failed. Its caller gets the error; the input is kept, so that
    it can run once more when the cause is gone.
    """


@dead.command("ls")
@environment_option
@_FUNCTION
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most.")
@json_option
def ls(name: str, limit: int, as_json: bool) -> None:
    """List the dead letters of an environment, the oldest first."""
    client = operator.connect()
    found = list(itertools.islice(_named(client, name, limit + 1), limit + 1))
    more = len(found) > limit
    del found[limit:]
    if as_json:
        print_json([fields(letter) for letter in found])
        return
    if not found:
        where = environment_of(None)
        click.echo(f"There are none of {name!r}." if name else f"No dead letters in {where}.")
        return
    made = table("id", "function", "call", ">index", ">deliveries", ">age", ">payload", "reason")
    for letter in found:
        made.add_row(
            letter.id,
            _function(letter),
            letter.call_id,
            str(letter.index),
            str(letter.deliveries),
            age(time.time() - letter.at_ns / 1e9),
            size(letter.payload_bytes),
            _short(letter.reason),
        )
    console().print(made)
    if more:
        click.echo(f"There are more; --limit shows more than {limit}.")


@dead.command()
@click.argument("letter_id", metavar="ID")
@json_option
def show(letter_id: str, as_json: bool) -> None:
    """Show one dead letter, with the whole reason."""
    client = operator.connect()
    letter = _one(client, letter_id)
    if letter is None:
        raise NotFoundError(f"no dead letter {letter_id}; `rekindle inputs dead ls` lists them")
    if as_json:
        print_json(fields(letter))
        return
    rows = (
        ("id", letter.id),
        ("function", _function(letter)),
        ("function id", letter.function_id),
        ("call", letter.call_id),
        ("index", str(letter.index)),
        ("deliveries", str(letter.deliveries)),
        ("given up", since(letter.at_ns)),
        ("payload", size(letter.payload_bytes)),
        ("error", letter.error_type or "-"),
    )
    console().print(listing(rows))
    click.echo(f"\n{letter.reason}")
    if letter.traceback:
        click.echo(f"\n{letter.traceback.rstrip()}")


@dead.command()
@environment_option
@_IDS
@_ALL
@_FUNCTION
def replay(ids: tuple[str, ...], every: bool, name: str) -> None:
    """Put dead letters back on the queue: by id, of a function, or all of the environment.

    They run as new calls, in the app that is open now: run an app that was closed again first.

    \b
    rekindle inputs dead replay fu-.../1763719000000-0
    rekindle inputs dead replay --function shop.price
    """
    _check_choice(ids, every, name)
    client = operator.connect()
    _change(client, "replay", ids, _chosen(client, ids, name))


@dead.command()
@environment_option
@_IDS
@_ALL
@_FUNCTION
@yes_option
def drop(ids: tuple[str, ...], every: bool, name: str, yes: bool) -> None:
    """Remove dead letters for good: by id, of a function, or all of the environment."""
    _check_choice(ids, every, name)
    if ids:
        letters = "dead letter" if len(ids) == 1 else "dead letters"
        what = f"the {letters} {', '.join(ids)}"
    else:
        what = (
            f"all dead letters of {name}" if name else f"all dead letters in {environment_of(None)}"
        )
    client = operator.connect()
    chosen = _chosen(client, ids, name)
    known = partial(_check_known, client, ids)
    confirm_loss(f"Drop {what} for good?", known, yes=yes or not chosen)
    _change(client, "drop", ids, chosen)


def _check_choice(ids: tuple[str, ...], every: bool, name: str) -> None:
    if sum((bool(ids), every, bool(name))) != 1:
        raise click.UsageError("give ids, --function NAME or --all")


def _chosen(client: Client, ids: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The ids of the letters that are meant: these, else those of the name. Raises NotFoundError.

    The controller's "all" would be those of every environment.
    """
    chosen = ids or tuple(letter.id for letter in _named(client, name))
    if name and not chosen:
        raise NotFoundError(f"there are no dead letters of {name!r}; `rekindle inputs dead ls`")
    return chosen


def _check_known(client: Client, ids: tuple[str, ...]) -> None:
    """Raises NotFoundError where ids are given that all name nothing."""
    if ids and not any(_one(client, one) for one in ids):
        raise NotFoundError(
            f"no dead letter {' or '.join(ids)}; `rekindle inputs dead ls` lists them"
        )


def _change(client: Client, what: str, ids: tuple[str, ...], chosen: tuple[str, ...]) -> None:
    """Have letters replayed or dropped; ``ids``: those that the user has named."""
    replies = []
    for start in range(0, len(chosen), _PAGE):
        selection = pb.DeadLetterSelection(ids=chosen[start : start + _PAGE])
        replies.append(operator.request(client, what.capitalize(), selection, pb.DeadLetterCount))
    count = sum(reply.count for reply in replies)
    notes = dict.fromkeys(reply.note for reply in replies if reply.note)
    done = "put back on the queue" if what == "replay" else "dropped"
    click.echo(f"{count} dead {'letter' if count == 1 else 'letters'} {done}.")
    if what == "replay":
        for call_id in (call for reply in replies for call in reply.calls):
            click.echo(f"new call: {call_id}")
    for note in notes:
        click.echo(note)
    if ids and count < len(ids) and not notes:
        click.echo(
            f"{len(ids) - count} of the ids named none; `rekindle inputs dead ls` lists them."
        )
    if ids and not count:
        click.get_current_context().exit(1)


def _letters(client: Client, function_id: str, at_once: int) -> Iterator[pb.DeadLetter]:
    """Dead letters of all environments, page by page; those of one function, by its id."""
    after = ""
    while True:
        request = pb.DeadLettersRequest(function_id=function_id, limit=at_once, after=after)
        reply = operator.request(client, "DeadLetters", request, pb.DeadLettersReply)
        yield from reply.letters
        if not reply.letters:
            return
        after = reply.letters[-1].id


def _one(client: Client, letter_id: str) -> pb.DeadLetter | None:
    """A dead letter: the first behind the greatest id that is less than its own."""
    function_id, _, entry = letter_id.partition("/")
    ms, _, number = entry.partition("-")
    if not (ms.isdecimal() and number.isdecimal()):
        return None
    before = f"{ms}-{int(number) - 1}" if int(number) else f"{int(ms) - 1}-{_LAST}"
    request = pb.DeadLettersRequest(
        function_id=function_id, limit=1, after=f"{function_id}/{before}"
    )
    found = operator.request(client, "DeadLetters", request, pb.DeadLettersReply).letters
    return next((one for one in found if one.id == letter_id), None)


def _named(client: Client, name: str, at_once: int = _PAGE) -> Iterator[pb.DeadLetter]:
    """Those of a function or app, also when it is closed; "": of the chosen environment."""
    only = name if name.startswith("fu-") else ""
    for letter in _letters(client, only, min(_PAGE, at_once)):
        if is_named(name, letter.app, letter.function, letter.function_id):
            yield letter


def is_named(name: str, app: str, function: str, function_id: str) -> bool:
    """Whether a function is the one that was named: by id, app, name, or both.

    "" names all of the chosen environment. By its id, or with its environment (ENVIRONMENT/APP),
    one may be of any environment.
    """
    if name == function_id or "/" in name:
        return name in (function_id, app, f"{app}.{function}")
    of_app = split_name(app)[1]
    return is_chosen(app) and name in ("", of_app, function, f"{of_app}.{function}")


def _function(letter: pb.DeadLetter) -> str:
    return f"{letter.app}.{letter.function}".strip(".") or letter.function_id


def _short(reason: str) -> str:
    line = reason.strip().splitlines()[0] if reason.strip() else ""
    return line if len(line) <= _WIDEST_REASON else line[: _WIDEST_REASON - 1] + "…"


def fields(letter: pb.DeadLetter) -> dict[str, Any]:
    """A dead letter as JSON."""
    made = as_dict(letter)
    return made | {"at": made.pop("at_ns") / 1e9}
