"""``rekindle shell FILE::NAME|ru-...``: a shell where a function runs."""

from __future__ import annotations

import time

import click

from rekindle.cli import container, operator, programs, refs, shown
from rekindle.cli.failure import show_failure
from rekindle.cli.options import OfProgram, environment_option, module_option
from rekindle.cli.refs import Target
from rekindle.exception import InvalidError, StartError
from rekindle.sdk import notes, progress, running
from rekindle.sdk.cls import Cls
from rekindle.sdk.connection.background import background
from rekindle.sdk.entrypoint import LocalEntrypoint
from rekindle.wire import rekindle_pb2 as pb

#: How often it is asked whether the runner is there; agents say so twice a second at most.
_LOOK_S = 0.1
#: A runner that is to be kept is started at once: one that is not there by then has failed.
_START_S = 300.0


@click.command(cls=OfProgram)
@environment_option
@click.argument("reference", metavar="FILE[::NAME]|RUNNER", shell_complete=refs.complete)
@module_option
@click.option("-c", "--cmd", metavar="COMMAND", help="Run this by the shell, and end.")
@click.option("-q", "--quiet", is_flag=True, help="Leave out rekindle's own notes.")
def shell(reference: str, is_module: bool, cmd: str | None, quiet: bool) -> int:
    """Open a shell in a runner: one that is there, or one that is started for it.

    FILE::NAME (or -m MODULE::NAME) starts a runner of that function or class: the shell has its
    files, volumes and variables (env=, secrets=), and ends with it. RUNNER (ru-...) is one that
    runs already.

    \b
    rekindle shell service.py::Model
    rekindle shell ru-... -c 'ls /data'
    """
    shown.show_notes(quiet=quiet)
    command = [container.shell(), *(["-c", cmd] if cmd else [])]
    if reference.startswith("ru-"):
        return container.run_in(operator.where(), container.find(reference), command)
    try:
        if programs.is_stdin(reference):
            raise InvalidError("-: standard input is the shell's; name a file")
        target = refs.resolve(reference, is_module=is_module, entrypoints=False)
        with running.enable_output(), target.app.run():
            with shown.waits(quiet=quiet), progress.step(f"Starting a runner of {target.name}"):
                assert target.app.running is not None  # its block says so
                found = _started(target, target.app.running)
            notes.on_terminal(f"In {found.runner.id}, a runner of {target.name}.")
            return container.run_in(target.app.running.client.instance, found, command)
    except BaseException as error:  # whatever the user's file raised
        if isinstance(error, (click.ClickException, KeyboardInterrupt, SystemExit)):
            raise
        show_failure(error)
        return 1


def _started(target: Target, app: running.RunningApp) -> container.Found:
    """A runner of its own for the shell: the app is this program's, and keeps one."""
    what = target.what
    assert not isinstance(what, LocalEntrypoint)  # none was asked for
    kept = what() if isinstance(what, Cls) else what
    kept.update_autoscaler(min_containers=1)
    function_id = app.function_ids[target.name.split(".")[0]]
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        request = pb.StatusRequest(without_pools=True)
        report = background().run(app.client.request("Status", request, pb.StatusReply))
        for found in container.found_in(report):
            if found.runner.function_id == function_id and found.runner.state == "idle":
                return found
        time.sleep(_LOOK_S)
    raise StartError(
        f"no runner of {target.name} came up; `rekindle logs {app.app_id}` may say why"
    )
