"""Options that several commands have: ``--env``, and ``--yes`` with its question."""

from __future__ import annotations

import sys

import click

from rekindle.exception import InvalidError

env_option = click.option(
    "-e", "--env", default=None, metavar="NAME", help="The environment (main)."
)
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


def confirm(question: str, *, yes: bool) -> None:
    """Go on only with a yes, from the option or the terminal.

    Raises InvalidError where there is no terminal, click.Abort for a no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidError(f"{question} There is no terminal to ask on: add --yes")
    click.confirm(question, abort=True)
