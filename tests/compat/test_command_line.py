"""Rows on the command line and its output (sections 14 and 15): options, and what they do.

What commands show on a terminal, and everything about a runner at one, is in tests/e2e.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import pytest

from rekindle.cli.group import cli
from tests.e2e.harness import Home

#: Command -> options that Modal's has and ours must take.
OPTIONS = {
    "run": "-n --name -w --write-result -q --quiet -d --detach -i --interactive -m --timestamps -e",
    "deploy": "--name --tag --strategy -m -e",
    "serve": "-m --timestamps -e",
    "shell": "-c --cmd -m -e",
    "app list": "--json -e",
    "app info": "-e",
    "app history": "--json -e",
    "app rollback": "-e",
    "app rollover": "-e",
    "app stop": "-y --yes -e",
    "app logs": """
        -f --follow --since --until --tail --search --function --call --runner --source
        --timestamps -e
    """,
    "container list": "--json",
    "container logs": "-f --follow --since --until --tail --timestamps",
    "container exec": "",
    "container stop": "--graceful",
    "volume list": "--json -e",
    "volume create": "-e",
    "volume rename": "-e",
    "volume delete": "-y --yes -e",
    "volume ls": "--json -e",
    "volume get": "-e",
    "volume put": "-f --force -e",
    "volume cp": "-e",
    "volume rm": "-r --recursive -e",
    "secret list": "--json -e",
    "secret create": "--from-dotenv --from-json --force -e",
    "secret delete": "-y --yes -e",
    "dict list": "--json -e",
    "dict create": "-e",
    "dict clear": "-y --yes -e",
    "dict delete": "-y --yes -e",
    "dict get": "-e",
    "dict items": "--json -e",
    "queue list": "--json -e",
    "queue create": "-e",
    "queue clear": "-y --yes -e",
    "queue delete": "-y --yes -e",
    "queue peek": "-e",
    "queue len": "-e",
    "environment list": "--json",
    "environment create": "",
    "environment delete": "-y --yes",
    "image build": "",
    "image logs": "",
}
_PROGRAM = """
    import datetime, json
    from typing import Literal, Optional

    import rekindle as modal

    app = modal.App("compat-cli")

    @app.function()
    def typed(text: str, number: int, ratio: float = 0.5, flag: bool = True,
              day: Optional[datetime.datetime] = None, mode: Literal["a", "b"] = "a"):
        return [text, number, ratio, flag, day and day.isoformat(), mode]

    @app.function()
    def words(*args):
        return list(args)

    @app.function()
    def speaks():
        print("from a runner")
        return "text"

    @app.function()
    def many():
        yield 1

    @app.function()
    def wrong(things: dict):
        return things

    @app.cls()
    class Model:
        size: int = modal.parameter(default=1)

        @modal.method()
        def times(self, n: int):
            return self.size * n
"""


def option_names(path: str) -> set[str]:
    """The options of a command, by all their names."""
    found: click.Command = cli
    context = click.Context(cli)
    for word in path.split():
        assert isinstance(found, click.Group)
        inner = found.get_command(context, word)
        assert inner is not None, f"there is no command {path}"
        found = inner
    return {
        name
        for one in found.get_params(context)
        if isinstance(one, click.Option)
        for name in one.opts
    }


@pytest.mark.parametrize("command", OPTIONS)
def test_a_command_takes_the_options_of_modal_s(command: str) -> None:
    assert set(OPTIONS[command].split()) <= option_names(command)


@pytest.fixture(scope="module")
def place(instance: Home) -> Iterator[Home]:
    with instance.another_place() as made:
        made.script(_PROGRAM)
        yield made


def printed(place: Home, reference: str, *words: str) -> object:
    return json.loads(place.run(reference, *words).out.splitlines()[-1].replace("'", '"'))


def test_parameters_are_options_by_their_types(place: Home) -> None:
    given = "--text t --number 3 --ratio 1.5 --no-flag --day 2030-01-02 --mode b"
    out = place.run("script.py::typed", *given.split()).out
    assert "['t', 3, 1.5, False, '2030-01-02T00:00:00', 'b']" in out
    for missing in ("--text t", "--text t --number x", "--text t --number 1 --mode c"):
        place.run("script.py::typed", *missing.split(), status=2)


def test_a_function_may_be_named_by_its_app_and_a_method_by_its_class(place: Home) -> None:
    assert "['a', '-b']" in place.run("script.py::app.words", "a", "-b").out
    assert "6" in place.run("script.py::Model.times", "--size", "2", "--n", "3").out


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("script.py:speaks", "::"),
        ("script.py::speak", "speaks"),
        ("script.py", "typed"),
        ("script.py::wrong", "things"),
        ("script.py::many", "generator"),
    ],
)
def test_what_cannot_be_run_says_what_could(place: Home, reference: str, words: str) -> None:
    ended = place.run(reference, status=None)
    assert ended.status != 0 and words in ended.err and "Traceback" not in ended.err


def test_a_result_is_written_and_quiet_leaves_the_runner_s_words(place: Home) -> None:
    ended = place.run("script.py::speaks", "-q", "-w", "result.txt")
    assert "from a runner" in ended.out and ended.err == ""
    assert (place.scripts / "result.txt").read_text() == "text"


def test_a_program_may_come_on_standard_input_and_options_are_shown(place: Home) -> None:
    shown = place.run("script.py::typed", "--help").out
    for name in ("--text", "--number", "--ratio", "--flag / --no-flag", "--day", "--mode"):
        assert name in shown


def test_detached_a_function_s_result_is_waited_for_and_shown(place: Home) -> None:
    assert "text" in place.run("script.py::speaks", "-d").out
