"""``rekindle bench``: one call by each strategy, compared phase by phase."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from rekindle.bench import harness, live, machine, plot, table
from rekindle.bench.records import write_json
from rekindle.bench.target import FunctionTarget
from rekindle.cli import failure, param_option, refs, tables
from rekindle.cli.options import environment_option
from rekindle.exception import Error, InvalidError
from rekindle.sdk.function import Function
from rekindle.sdk.local import lingering


@click.command()
@environment_option
@click.argument("reference", metavar="FILE::Cls.method")
@click.option(
    "--args",
    "arguments",
    default="[]",
    metavar="JSON",
    help="Arguments of the call: a list (positional) or an object (by name).",
)
@param_option.param_option
@click.option(
    "--strategies",
    default="cold,restore,fork,warm",
    show_default=True,
    help="What to compare, in this order.",
)
@click.option(
    "--runs", default=10, show_default=True, type=click.IntRange(1), help="Runs of each strategy."
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all figures to this file.",
)
@click.option(
    "--plot",
    "plot_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the phases to this file (.png, .svg or .pdf).",
)
def bench(
    reference: str,
    arguments: str,
    parameters: tuple[str, ...],
    strategies: str,
    runs: int,
    json_file: Path | None,
    plot_file: Path | None,
) -> int:
    """Call FILE::Cls.method (or FILE::function) by each strategy and compare.

    Runs are interleaved. Each takes exactly the strategy that it is counted for: one that cannot
    be taken is an error, shown with its reason, and the exit status is 1.

    \b
    rekindle bench examples/embed.py::Embedder.embed --args '[["a storm at sea"]]'
    rekindle bench examples/hello.py::hello --args '{"name": "you"}' --strategies cold,warm
    """
    chosen = harness.parse_strategies(strategies)
    args, kwargs = parse_arguments(arguments)
    if plot_file is not None:
        plot.load_pyplot()  # before minutes of measuring, not after
    console = tables.console()
    os.environ[lingering.VARIABLE] = "0"  # one that others have used would change what is measured
    try:
        found = refs.resolve(reference, entrypoints=False)
        target = FunctionTarget(_function_of(found, parameters), args, kwargs)
        with found.app.run(), live.bar(console) as progress:
            report = harness.measure(
                target,
                strategies=chosen,
                runs=runs,
                machine=machine.describe(),
                preparing=progress.preparing,
                progress=progress.step,
            )
    except Error:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the user's code raised
        failure.show_failure(error)
        return 1
    console.print(table.render(report))
    if json_file is not None:
        write_json(json_file, report.to_dict())
    if plot_file is not None and any(result.runs for result in report.results):
        plot.save(report, plot_file)
    return 1 if report.errors else 0


def _function_of(found: refs.Target, parameters: tuple[str, ...]) -> Function[..., Any]:
    made = param_option.bound(found, parameters)
    return made if isinstance(made, Function) else getattr(made, found.method)


def parse_arguments(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional arguments and arguments by name, from JSON. Raises InvalidError."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidError(
            f"--args {text!r} is not JSON ({error}); write --args '[\"some text\"]'"
        ) from None
    if isinstance(value, list):
        return tuple(value), {}
    if isinstance(value, dict):
        return (), value
    raise InvalidError(
        f"--args {text!r} is neither a list nor an object; for one argument write --args '[{text}]'"
    )
