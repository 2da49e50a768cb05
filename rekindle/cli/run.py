"""``rekindle run FILE[::name]``: run an entrypoint here, or a function or method in a runner."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import click

from rekindle.cli import arguments, refs, shown
from rekindle.cli.main import INTERRUPTED
from rekindle.cli.options import environment_option
from rekindle.cli.refs import Target
from rekindle.exception import InvalidError
from rekindle.execution.declared import parameters_of
from rekindle.sdk import notes, progress, running
from rekindle.sdk.binding import annotation_of
from rekindle.sdk.calls import records
from rekindle.sdk.cls import Cls
from rekindle.sdk.entrypoint import LocalEntrypoint
from rekindle.sdk.local import lingering
from rekindle.wire.phases import Strategy


@dataclass(frozen=True)
class RunOptions:
    """What is rekindle's own among the options."""

    phases: bool = False
    strategy: str | None = None
    quiet: bool = False
    linger: str | None = None
    detach: bool = False
    interactive: bool = False


def _own_options() -> list[click.Option]:
    return [
        click.Option(["--phases"], is_flag=True, help="At the end, show where the time went."),
        click.Option(
            ["--strategy"],
            type=click.Choice([strategy.value for strategy in Strategy]),
            default=None,
            help="Make every call take exactly this strategy, or fail.",
        ),
        click.Option(
            ["-q", "--quiet"], is_flag=True, help="Leave out rekindle's own notes and results."
        ),
        click.Option(
            ["-d", "--detach"],
            is_flag=True,
            help="What was submitted goes on when this program ends, also by Ctrl-C.",
        ),
        click.Option(
            ["-i", "--interactive"],
            is_flag=True,
            help="breakpoint() and rekindle.interact() in a runner have this terminal.",
        ),
        click.Option(
            ["--linger"],
            metavar="TIME",
            help="How long the instance stays after its last program: 10m (unless "
            "REKINDLE_LINGER says else), 90s, 2h; 0 takes it down at the end.",
        ),
    ]


@click.command(
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]}
)
@click.argument("reference", metavar="FILE[::NAME]", shell_complete=refs.complete)
@click.argument("words", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
def run(reference: str, words: tuple[str, ...], **own: Any) -> int:
    """Run an entrypoint of FILE here, or a function or method of it in a runner.

    NAME is an entrypoint, f, or Cls.method; it can be left out where only one can be meant. ARGS
    are options made from its signature: `rekindle run FILE --help` shows them. What rekindle up
    keeps is used, or an instance is brought up, which stays for a while (--linger), so that the
    next run is quick; `rekindle down` ends it. Where CI is set it does not stay.
    """
    try:
        target = refs.resolve(reference)
    except BaseException as error:  # whatever the user's file raised
        if isinstance(error, (click.ClickException, KeyboardInterrupt, SystemExit)):
            raise
        _show_failure(error)
        return 1
    status: int = _command_for(target, RunOptions(**own)).main(
        args=list(words), prog_name=f"rekindle run {reference}", standalone_mode=False
    )
    return status


run.params += _own_options()
environment_option(run)


# ---- the user's options ------------------------------------------------------------------------


def _command_for(target: Target, options: RunOptions) -> click.Command:
    """A command whose options are those of the target's signature."""
    function = _raw(target)
    if not isinstance(target.what, LocalEntrypoint):
        generators = target.what._declaration.generators or ()
        if (target.method if isinstance(target.what, Cls) else "") in generators:
            raise InvalidError(
                f"{target.name} is a generator, which `rekindle run` does not call: write an "
                f"@app.local_entrypoint() that iterates over {target.name}.remote_gen(...)"
            )
    if not isinstance(target.what, Cls) and arguments.takes_raw(function):
        return click.Command(
            target.name,
            params=[click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)],
            callback=lambda words: _execute(
                target, options, lambda: _call(target, options, {}, *words)
            ),
            context_settings={"ignore_unknown_options": True, "help_option_names": []},
        )
    params = arguments.options_of(function, target.name)
    of_class: list[str] = []
    if isinstance(target.what, Cls):
        raw = target.what._declaration.raw
        for name, parameter in parameters_of(raw).items():
            if not parameter.init:
                continue
            default = inspect.Parameter.empty if parameter.default is ... else parameter.default
            if name in {p.name for p in params}:
                raise InvalidError(
                    f"{target.name}: {name!r} is a parameter of the class and of the method; "
                    f"call it from a local entrypoint, where both can be given"
                )
            kind = annotation_of(raw, name)
            params.append(
                arguments.option(target.name, name, str if kind is bytes else kind, default)
            )
            of_class.append(name)
    taken = {flag for p in params for flag in (*p.opts, *p.secondary_opts)}
    own = [p for p in _own_options() if not taken.intersection(p.opts)]

    def callback(**given: Any) -> int:
        chosen = options
        for param in own:  # options after FILE count as well
            assert param.name is not None
            value = given.pop(param.name)
            if value not in (None, False):
                chosen = replace(chosen, **{param.name: value})
        for_class = {name: given.pop(name) for name in of_class}
        return _execute(target, chosen, lambda: _call(target, chosen, for_class, **given))

    return click.Command(
        target.name,
        params=[*params, *own],
        callback=callback,
        help=inspect.getdoc(function),
        context_settings={"help_option_names": ["--help"]},
    )


def _raw(target: Target) -> Callable[..., Any]:
    """The user's function, a method without its self."""
    if isinstance(target.what, LocalEntrypoint):
        return target.what.raw
    raw: Any = target.what._declaration.raw
    if isinstance(target.what, Cls):
        method = getattr(raw, target.what._declaration.methods[target.method])
        bound: Callable[..., Any] = method.__get__(raw.__new__(raw))
        return bound
    function: Callable[..., Any] = raw
    return function


# ---- running -----------------------------------------------------------------------------------


def _execute(target: Target, options: RunOptions, call: Callable[[], Any]) -> int:
    if options.linger is not None:
        lingering.time_s(options.linger, "--linger ")
        os.environ[lingering.VARIABLE] = options.linger  # also for what the program starts
    lingering.linger_s()  # a wrong time is refused before anything is started
    shown.show_notes(quiet=options.quiet)
    status = 0
    finished: list[records.CallRecord] = []
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(shown.waits(quiet=options.quiet))
            if options.phases:
                finished = stack.enter_context(records.collect())
            stack.enter_context(running.enable_output())
            if options.strategy:
                stack.enter_context(running.ask_strategy(options.strategy))
            with progress.step(f"Bringing up {target.app.name or 'the app'}"):
                app = stack.enter_context(
                    target.app.run(detach=options.detach, interactive=options.interactive)
                )
            notes.on_terminal(f"{app.name} is up: {', '.join(target.app.registered)}.")
            try:
                result = call()
                if result is not None and not options.quiet:
                    click.echo(result if isinstance(result, str) else repr(result))
            except KeyboardInterrupt:
                notes.write_note(
                    f"What was submitted goes on: `rekindle logs {app.app_id}` shows its output."
                    if options.detach
                    else "Stopping."
                )
                status = INTERRUPTED
            except Exception as error:  # noqa: BLE001 - whatever the user's code raised
                _show_failure(error)
                status = 1
    except KeyboardInterrupt:  # while it came up or was taken down
        notes.write_note("Stopping.")
        status = INTERRUPTED
    if finished:
        from rekindle.cli import phases

        sys.stdout.flush()
        phases.show(finished)
    return status


def _show_failure(error: BaseException) -> None:
    from rekindle.cli import failure  # loads what a run without one does not need

    failure.show_failure(error)


def _call(
    target: Target, options: RunOptions, for_class: dict[str, Any], /, *words: str, **values: Any
) -> Any:
    """The value of the call; None of a local entrypoint."""
    what = target.what
    if isinstance(what, LocalEntrypoint):
        made = what.raw(*words, **values)
        if inspect.iscoroutine(made):
            import asyncio

            asyncio.run(made)
        return None
    function = getattr(what(**for_class), target.method) if isinstance(what, Cls) else what
    if options.detach:  # in the queue, where it needs nobody who waits
        submitted = function.spawn(*words, **values)
        if not options.quiet:
            notes.write_note(f"Submitted {submitted.object_id}.")
        return submitted.get()
    return function.remote(*words, **values)
