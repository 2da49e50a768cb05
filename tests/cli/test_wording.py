"""Hints of commands are commands; tables in pipes have no spaces at the ends of lines."""

from __future__ import annotations

import io

import click
import pytest

from rekindle.cli import group, options
from rekindle.cli.tables import console, table
from rekindle.cli.wording import of_commands
from rekindle.exception import NotFoundError
from rekindle.volumes.registry import Registry


def test_a_hint_of_the_library_becomes_a_command() -> None:
    said = "there is no Dict 'counts' in the environment 'main'; create_if_missing=True makes it"
    assert "`rekindle dict create counts` makes it" in str(of_commands(NotFoundError(said)))
    elsewhere = of_commands(NotFoundError(said.replace("main", "test")))
    assert "`rekindle dict create counts --env test` makes it" in str(elsewhere)
    assert "--force replaces it" in str(of_commands(NotFoundError("force=True replaces it")))
    gone = of_commands(NotFoundError(said), ["dict", "delete", "counts"])
    assert str(gone).endswith("in the environment 'main'; `rekindle dict list` shows all")
    untouched = NotFoundError("no such thing")
    assert of_commands(untouched) is untouched and str(untouched) == "no such thing"


def test_a_volume_that_is_missing_has_its_command_alone() -> None:
    with pytest.raises(NotFoundError) as caught:
        Registry.default().find("absent", "nowhere")
    text = str(of_commands(caught.value))
    assert "create_if_missing" not in text and "`rekindle volume create absent` makes one" in text


def test_who_wants_a_volume_gone_is_not_told_how_to_make_it() -> None:
    with pytest.raises(NotFoundError) as caught:
        Registry.default().find("absent", "nowhere")
    text = str(of_commands(caught.value, ["volume", "delete", "absent"]))
    assert text.endswith("; `rekindle volume list` shows all")


def test_a_no_changes_nothing_and_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "has_terminal", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert group.shown(lambda: _asks.main([], standalone_mode=False)) == 1
    shown = capsys.readouterr()
    assert "Nothing was changed." in shown.err and "done" not in shown.out
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert group.shown(lambda: _asks.main([], standalone_mode=False)) == 0
    assert "done" in capsys.readouterr().out


@click.command()
def _asks() -> None:
    options.confirm("Stop it?", yes=False)
    click.echo("done")


def test_a_table_in_a_pipe_has_no_spaces_at_the_ends_of_its_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = table("name", ">size", "what")
    made.add_row("a", "1", "short")
    made.add_row("longer", "22", "something longer")
    console().print(made)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[1].split() == ["a", "1", "short"]
    assert all(line == line.rstrip() for line in lines)
