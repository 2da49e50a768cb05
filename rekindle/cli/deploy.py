"""``rekindle deploy FILE|-m MODULE``: have an app stay, as its next version."""

from __future__ import annotations

import time

import click

from rekindle.cli import app_refs, refs, shown
from rekindle.cli.failure import show_failure
from rekindle.cli.options import OfProgram, checked_name, environment_option, module_option
from rekindle.sdk import deploying, interrupted_deploy, progress


@click.command(cls=OfProgram)
@environment_option
@click.argument("reference", metavar="FILE[::APP]", shell_complete=refs.complete)
@module_option
@click.option(
    *("-n", "--name"), callback=checked_name, help="Deploy under this name, and not the app's own."
)
@click.option("--tag", default=None, help="A word that the history shows, such as a commit.")
@click.option(
    "--strategy",
    type=click.Choice(deploying.STRATEGIES),
    default="rolling",
    show_default=True,
    help="What becomes of what runs: it ends by the old code, or runs again by the new.",
)
@click.option("-q", "--quiet", is_flag=True, help="Leave out rekindle's own notes and results.")
def deploy(
    reference: str, is_module: bool, name: str | None, tag: str | None, strategy: str, quiet: bool
) -> int:
    """Have the app of FILE stay: its functions can be called until `rekindle app stop`.

    FILE is a Python file, - for standard input, or with -m a module.
    It runs on the instance of rekindle up, which is brought up where it is not, and is there again
    after any restart. All calls go to the new version at once, when it has started (where it does
    not, the former one stays); the same content is no new version.

    \b
    rekindle deploy service.py --tag v12
    """
    if tag is not None and not tag.strip():
        raise click.BadParameter(
            "a tag has a word at least, or leave --tag out", param_hint="--tag"
        )
    shown.show_notes(quiet=quiet)
    began, made = time.monotonic(), None
    try:
        app = app_refs.resolve(reference, is_module=is_module)
        with shown.waits(quiet=quiet), progress.step(f"Deploying {name or app.name}"):
            made = app.deploy(name=name, tag=tag, strategy=strategy)
    except BaseException as error:  # whatever the user's file raised
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            if made is not None:
                error.add_note(interrupted_deploy.live_by_then(made.name, made.version))
            elif not getattr(error, "__notes__", ()):
                error.add_note(interrupted_deploy.NOTHING_DEPLOYED)
            raise
        if isinstance(error, click.ClickException):
            raise
        show_failure(error)
        return 1
    for note in made.notes:  # not quiet: who deploys relies on what it says was not done
        click.echo(note, err=quiet)
    if quiet:
        return 0
    click.echo(deploying.said_of(made, time.monotonic() - began))
    return 0
