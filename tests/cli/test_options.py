"""Options that several commands have."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from rekindle.cli.options import OfProgram


@click.command(cls=OfProgram, context_settings={"allow_interspersed_args": False})
@click.option("-n", "--name")
@click.option("-q", "quiet", is_flag=True)
@click.argument("reference")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def takes(name: str | None, quiet: bool, reference: str, words: tuple[str, ...]) -> None:
    click.echo(repr([name, quiet, reference, *words]))


@pytest.mark.parametrize(
    ("argv", "taken"),
    [
        (["-::f"], [None, False, "/dev/stdin::f"]),
        (
            ["-q", "-n", "x", "-::f", "--text", "-::g"],
            ["x", True, "/dev/stdin::f", "--text", "-::g"],
        ),
        (["--name=x", "-"], ["x", False, "-"]),
        (["-n", "-::f", "file.py"], ["-::f", False, "file.py"]),
        (["file.py", "--text", "-::g"], [None, False, "file.py", "--text", "-::g"]),
    ],
)
def test_only_the_first_word_is_a_program_on_standard_input(
    argv: list[str], taken: list[object]
) -> None:
    assert CliRunner().invoke(takes, argv).output == f"{taken!r}\n"
