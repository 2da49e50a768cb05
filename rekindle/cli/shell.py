"""``rekindle shell FILE::NAME|ru-...``: a shell where a function runs."""

from __future__ import annotations

import time
from typing import Any

import click

from rekindle.cli import container, operator, param_option, programs, refs, shown
from rekindle.cli.failure import show_failure
from rekindle.cli.options import OfProgram, environment_option, module_option
from rekindle.exception import InvalidError, StartError
from rekindle.sdk import notes, progress, running
from rekindle.sdk.cls import Instance
from rekindle.sdk.connection.background import background
from rekindle.sdk.function import Function
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
@param_option.param_option
@click.option("-q", "--quiet", is_flag=True, help="Leave out rekindle's own notes.")
def shell(
    reference: str, is_module: bool, cmd: str | None, parameters: tuple[str, ...], quiet: bool
) -> int:
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
        if parameters:
            raise InvalidError(f"--param: {reference} is there already; name a class in a file")
        return container.run_in(operator.where(), container.find(reference), command)
    try:
        if programs.is_stdin(reference):
            raise InvalidError("-: standard input is the shell's; name a file")
        target = refs.resolve(reference, is_module=is_module, entrypoints=False)
        what = param_option.bound(target, parameters)
        with running.enable_output(), target.app.run():
            with shown.waits(quiet=quiet), progress.step(f"Starting a runner of {target.name}"):
                assert target.app.running is not None  # its block says so
                found = _started(target.name, what, target.app.running)
            notes.on_terminal(f"In {found.runner.id}, a runner of {target.name}.")
            return container.run_in(target.app.running.client.instance, found, command)
    except BaseException as error:  # whatever the user's file raised
        if isinstance(error, (click.ClickException, KeyboardInterrupt, SystemExit)):
            raise
        show_failure(error)
        return 1


def _started(
    name: str, what: Function[..., Any] | Instance, app: running.RunningApp
) -> container.Found:
    """A runner of its own for the shell: the app is this program's, and keeps one.

    Raises StartError with the reason where its start fails.
    """
    what.update_autoscaler(min_containers=1)
    function_id = app.function_ids[name.split(".")[0]]
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        request = pb.StatusRequest(without_pools=True)
        report = background().run(app.client.request("Status", request, pb.StatusReply))
        for found in container.found_in(report):
            if found.runner.function_id == function_id and found.runner.state == "idle":
                return found
        for start in report.recent_starts:
            if start.function_id == function_id and not start.ok:
                raise StartError(f"no runner of {name} could be started: {start.reason}")
        time.sleep(_LOOK_S)
    raise StartError(f"no runner of {name} came up; `rekindle logs {app.app_id}` may say why")
