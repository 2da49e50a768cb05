"""Options that several commands have: ``--env``, and ``--yes`` with its question."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from rekindle.exception import InternalFailure, InvalidError, NotFoundError
from rekindle.sdk import checks
from rekindle.sdk.environments import environment_of
from rekindle.wire.environment import ENVIRONMENT_VARIABLE, in_environment, split_name

_HELP = f"The environment: this, else ${ENVIRONMENT_VARIABLE}, else main."

env_option = click.option("-e", "--env", default=None, metavar="NAME", help=_HELP)
module_option = click.option(
    "-m", "is_module", is_flag=True, help="FILE is a module: package.module."
)


class OfProgram(click.Command):
    """A command whose first word is a program: ``-::NAME`` is one, and no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As of any command."""
        at = 0
        while at < len(args) and args[at].startswith("-"):  # what is behind it is the program's
            if args[at].startswith("-::"):
                args[at] = f"/dev/stdin{args[at][1:]}"
                break
            at += 2 if args[at] in self._with_values(ctx) else 1
        return super().parse_args(ctx, args)

    def _with_values(self, ctx: click.Context) -> set[str]:
        """Options that the next word belongs to."""
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        return {word for one in options if not (one.is_flag or one.count) for word in one.opts}


yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


def _choose(context: click.Context, _parameter: click.Parameter, name: str | None) -> None:
    """Have all that the command does, and the user's code that it loads, be in an environment."""
    if name is None:
        return
    checks.name("the environment name", name)
    before = os.environ.get(ENVIRONMENT_VARIABLE)

    def leave() -> None:
        if before is None:
            os.environ.pop(ENVIRONMENT_VARIABLE, None)
        else:
            os.environ[ENVIRONMENT_VARIABLE] = before

    os.environ[ENVIRONMENT_VARIABLE] = name
    context.call_on_close(leave)


#: ``--env`` of commands about apps: they ask ``app_named``.
environment_option = click.option(
    *("-e", "--env"),
    default=None,
    metavar="NAME",
    expose_value=False,
    is_eager=True,
    callback=_choose,
    help=_HELP,
)


def checked_name(
    _context: click.Context, _parameter: click.Parameter, name: str | None
) -> str | None:
    """The name that an app is given; refused before its program is loaded. Raises InvalidError.

    An empty one, as of a variable that is not set, does not mean the app's own.
    """
    if name is not None:
        checks.app_name(name)
    return name


def app_named(given: str) -> str:
    """An app, or APP.FUNCTION, as the instance knows it: of the chosen environment.

    An id is that of any, and so is what says its environment: ENVIRONMENT/APP. Raises InvalidError,
    also for no name: a variable that is not set, which means all apps to the controller.
    """
    if not given:
        raise InvalidError("'' names no app; `rekindle app list` shows all")
    if "/" in given:
        return in_environment(*split_name(given))
    if given.startswith(("ap-", "fu-")):
        return given
    return in_environment(environment_of(None), given)


def is_chosen(app: str) -> bool:
    """Whether an app, as the instance knows it, is in the chosen environment."""
    return split_name(app)[0] == environment_of(None)


def has_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin is not None and sys.stdin.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Go on only with a yes, from the option or the terminal.

    Raises InvalidError where there is no terminal; for a no ends the command with status 1.
    """
    if yes:
        return
    if not has_terminal():
        raise InvalidError(f"{question} There is no terminal to ask on: add --yes")
    if not click.confirm(question):
        click.echo("Nothing was changed.", err=True)
        raise click.exceptions.Exit(1)


def confirm_loss(
    question: str, look: Callable[[], object], *, yes: bool, missing_ok: bool = False
) -> None:
    """As ``confirm``, of what ``look`` finds: nothing is asked about what is not there.

    Raises NotFoundError as ``look`` does, unless ``missing_ok``.
    """
    if yes:  # what goes on looks itself
        return
    try:
        look()
    except NotFoundError:
        if missing_ok:
            return
        raise
    except InternalFailure:
        pass  # it is damaged, and so it is there: whether it can be removed is for who removes it
    confirm(question, yes=False)
