"""``rekindle run FILE[::name]``: run an entrypoint here, or a function or method in a runner."""

from __future__ import annotations

import inspect
from typing import Any

import click

from rekindle.cli import arguments, execution, refs
from rekindle.cli.execution import RunOptions
from rekindle.cli.options import OfProgram, checked_name, environment_option, module_option
from rekindle.cli.refs import Target
from rekindle.exception import InvalidError
from rekindle.execution import annotated
from rekindle.execution.declared import parameters_of
from rekindle.sdk.class_parameters import annotation_of
from rekindle.sdk.cls import Cls
from rekindle.sdk.entrypoint import LocalEntrypoint
from rekindle.wire.phases import Strategy


def _own_options() -> list[click.Option]:
    return [
        click.Option(
            ["-n", "--name"],
            callback=checked_name,
            help="Run under this name, and not the app's own.",
        ),
        click.Option(
            ["-w", "--write-result"],
            metavar="FILE",
            help="Write what is returned there, a str or bytes, and do not show it.",
        ),
        click.Option(
            ["--timestamps"], is_flag=True, help="Show when each line of a runner was written."
        ),
        click.Option(["--phases"], is_flag=True, help="At the end, show where the time went."),
        click.Option(
            ["--strategy"],
            type=click.Choice([strategy.value for strategy in Strategy]),
            default=None,
            help="Make every call take exactly this strategy, or fail.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            help="Leave out rekindle's own notes and the printed result.",
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
            "REKINDLE_LINGER says otherwise), 90s, 2h; 0 takes it down at the end.",
        ),
    ]


@click.command(
    cls=OfProgram,
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
)
@click.argument("reference", metavar="FILE[::NAME]", shell_complete=refs.complete)
@module_option
@click.argument("words", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
def run(reference: str, words: tuple[str, ...], is_module: bool, **own: Any) -> int:
    """Run an entrypoint of FILE here, or a function or method of it in a runner.

    FILE is a Python file, - for standard input, or with -m a module. NAME is an entrypoint, f, or
    Cls.method; it can be left out where only one can be meant. ARGS are options made from its
    signature: `rekindle run FILE --help` shows them. What rekindle up keeps is used, or an instance
    is brought up, which stays for a while (--linger), so that the next run is quick; `rekindle
    down` ends it. Where CI is set it does not stay.

    \b
    rekindle run program.py::evaluate --epochs 3
    rekindle run -m package.program::main -w report.json
    """
    try:
        target = refs.resolve(reference, is_module=is_module)
    except BaseException as error:  # whatever the user's file raised
        if isinstance(error, (click.ClickException, KeyboardInterrupt, SystemExit)):
            raise
        execution.show_failure(error)
        return 1
    shown = f"-m {reference}" if is_module else reference
    return run_target(target, RunOptions(**own), shown, words)


def run_target(
    target: Target, options: RunOptions, reference: str, words: tuple[str, ...] = ()
) -> int:
    """Run what a reference names with the words that are its own. Raises click's exceptions."""
    status: int = _command_for(target, options).main(
        args=list(words), prog_name=f"rekindle run {reference}", standalone_mode=False
    )
    return status


run.params += _own_options()
environment_option(run)


# ---- the user's options ------------------------------------------------------------------------


def _command_for(target: Target, options: RunOptions) -> click.Command:
    """A command whose options are those of the target's signature."""
    function = execution.raw_of(target)
    _refuse_generator(target)
    if not isinstance(target.what, Cls) and arguments.takes_raw(function):
        return click.Command(
            target.name,
            params=[click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)],
            callback=lambda words: execution.execute(
                target, options, lambda: execution.call_of(target, options, {}, *words)
            ),
            context_settings={"ignore_unknown_options": True, "help_option_names": []},
        )
    params = arguments.options_of(function, target.name)
    for_the_class = _options_of_class(target)
    for one in for_the_class:
        if one.name in {p.name for p in params}:
            raise InvalidError(
                f"{target.name}: {one.name!r} is a parameter of the class and of the method; "
                f"call it from a local entrypoint, where both can be given"
            )
    params += for_the_class
    by_place = [
        name
        for name, parameter in annotated.signature(function).parameters.items()
        if parameter.kind is parameter.POSITIONAL_ONLY
    ]
    taken = {flag for p in params for flag in (*p.opts, *p.secondary_opts)}
    own = [p for p in _own_options() if not taken.intersection(p.opts)]

    def callback(**given: Any) -> int:
        chosen = options
        for param in own:  # options after FILE count as well
            assert param.name is not None
            value = given.pop(param.name)
            if value not in (None, False):
                chosen = chosen._replace(**{param.name: value})
        for_class = {str(one.name): given.pop(str(one.name)) for one in for_the_class}
        first = [given.pop(name) for name in by_place]
        return execution.execute(
            target, chosen, lambda: execution.call_of(target, chosen, for_class, *first, **given)
        )

    command = click.Command(
        target.name,
        params=[*params, *own],
        callback=callback,
        help=inspect.getdoc(function),
        context_settings={"help_option_names": ["--help"]},
    )
    if "--env" not in taken:
        environment_option(command)  # of the run; the file was loaded without it
    return command


def _refuse_generator(target: Target) -> None:
    if isinstance(target.what, LocalEntrypoint):
        return
    generators = target.what._declaration.generators or ()
    if (target.method if isinstance(target.what, Cls) else "") in generators:
        raise InvalidError(
            f"{target.name} is a generator, which `rekindle run` does not call: write an "
            f"@app.local_entrypoint() that iterates over {target.name}.remote_gen(...)"
        )


def _options_of_class(target: Target) -> list[click.Option]:
    """Of the parameters that its instance is given."""
    if not isinstance(target.what, Cls):
        return []
    raw = target.what._declaration.raw
    found = []
    for name, parameter in parameters_of(raw).items():
        if not parameter.init:
            continue
        default = inspect.Parameter.empty if parameter.default is ... else parameter.default
        kind = annotation_of(raw, name)
        made = arguments.option(target.name, name, str if kind is bytes else kind, default)
        if kind is bytes:
            made.type = arguments.TextAsBytes()
        found.append(made)
    return found
