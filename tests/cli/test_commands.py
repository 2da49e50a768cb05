"""Groups of commands: the two names of a list, and what a wrong name is told."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from rekindle.cli.commands import CommandGroup
from rekindle.cli.group import _COMMANDS, cli

_LISTS = {
    *("app", "blob", "container", "damaged", "dict", "environment", "image", "inputs", "pool"),
    *("queue", "schedule", "secret", "snapshot", "volume"),
}


def groups() -> Iterator[tuple[str, CommandGroup]]:
    context = click.Context(cli)
    for name in _COMMANDS:
        command = cli.get_command(context, name)
        if isinstance(command, click.Group):
            assert isinstance(command, CommandGroup), name
            yield name, command


def every_command() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)

    def below(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            for name, one in command.commands.items():
                yield from below(f"{path} {name}", one)

    for name in _COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        yield from below(name, command)


def test_the_groups_that_list_something_are_those_that_are_known() -> None:
    assert {name for name, group in groups() if {"ls", "list"} & group.commands.keys()} == _LISTS


@pytest.mark.parametrize("name", sorted(_LISTS))
def test_a_list_has_two_names_and_json(name: str) -> None:
    group = dict(groups())[name]
    context = click.Context(group)
    for word in ("list", "ls"):
        found = group.get_command(context, word)
        assert found is not None
        assert "--json" in {flag for param in found.params for flag in param.opts}


def test_a_wrong_name_in_a_group_has_the_nearest_beside_it() -> None:
    said = CliRunner().invoke(cli, ["dict", "clera", "x"])
    assert said.exit_code == 2
    assert "dict has no command 'clera'; did you mean 'clear'?" in said.output
    said = CliRunner().invoke(cli, ["queue", "xyz"])
    assert "there are: clear, create, delete, len, list, peek" in said.output


def test_the_help_page_of_every_command_says_what_it_is_for_and_what_its_options_do() -> None:
    for path, command in every_command():
        assert command.help, path
        for param in command.params:
            if isinstance(param, click.Option) and not param.hidden:
                assert param.help, f"{path} {param.opts[0]}"
        words = path.split()
        shown = CliRunner().invoke(cli, [*words, "--help"])
        assert shown.exit_code == 0, path
        assert shown.output.startswith(f"Usage: cli {path}"), path
