"""Which instance a command and a program use, and what both are told where there is none."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import rekindle
from rekindle import paths
from rekindle.cli import operator
from rekindle.cli.group import cli
from rekindle.exception import ConnectionError
from rekindle.sdk import running
from rekindle.sdk.local import choosing, lingering
from rekindle.sdk.local import directory as instance


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which nothing is up."""
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path))
    monkeypatch.delenv("REKINDLE_DIR", raising=False)
    return tmp_path


@pytest.fixture
def serve(home: Path) -> Iterator[Callable[[Path], Path]]:
    """Has an instance directory served by this process."""
    locks = []

    def serve(directory: Path) -> Path:
        instance.prepare(directory)
        locks.append(instance.claim(directory))
        return directory

    yield serve
    for lock in locks:
        os.close(lock)


def left_by_a_killed_one(directory: Path) -> Path:
    """Token, pid file and sockets are there; no process is."""
    instance.prepare(directory)
    os.close(instance.claim(directory))
    for path in (paths.controller_socket(directory), paths.requests_socket(directory)):
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    return directory


#: How it is asked for: by a program, by a name in a program, by a command.
ASKING: dict[str, Callable[[], object]] = {
    "program": running.default_instance,
    "function": lambda: rekindle.Function.from_name("app", "f").remote(),
    "dict": lambda: rekindle.Dict.from_name("d", create_if_missing=True).len(),
    "queue": lambda: rekindle.Queue.from_name("q", create_if_missing=True).len(),
    "command": operator.connect,
}
COMMANDS = [
    ["app", "list"],
    ["dict", "list"],
    ["queue", "list"],
    ["secret", "list"],
    ["schedule", "ls"],
    ["container", "list"],
    ["pool", "ls"],
    ["logs", "app"],
]


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)
@pytest.mark.parametrize("left", [False, True], ids=["none", "killed"])
def test_where_none_is_up_all_say_the_same(
    home: Path, ask: Callable[[], object], left: bool
) -> None:
    """Whatever a killed one has left behind."""
    if left:
        left_by_a_killed_one(paths.daemon_dir())
    with pytest.raises(ConnectionError) as told:
        ask()
    assert str(told.value) == choosing.NONE_IS_UP


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("left", [False, True], ids=["none", "killed"])
def test_where_none_is_up_commands_say_it_too(home: Path, words: list[str], left: bool) -> None:
    if left:
        left_by_a_killed_one(paths.daemon_dir())
    ended = CliRunner().invoke(cli, words)
    assert ended.exit_code != 0
    assert choosing.NONE_IS_UP in ended.output + str(ended.exception)


@pytest.mark.parametrize("ask", [*ASKING.values(), lambda: rekindle.App("a").run().__enter__()])
def test_one_that_is_named_must_be_there(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[], object]
) -> None:
    monkeypatch.setenv("REKINDLE_DIR", str(tmp_path / "another"))
    with pytest.raises(ConnectionError, match="is no instance directory"):
        ask()
    left_by_a_killed_one(tmp_path / "another")
    with pytest.raises(ConnectionError, match=r"REKINDLE_DIR=\S+another has ended"):
        ask()


@pytest.mark.parametrize("words", [*COMMANDS, ["status"]], ids=" ".join)
def test_commands_say_what_is_wrong_with_the_named_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("REKINDLE_DIR", str(tmp_path))
    ended = CliRunner().invoke(cli, words)
    assert ended.exit_code != 0
    said = ended.output + str(ended.exception)
    assert f"REKINDLE_DIR={tmp_path} is no instance directory" in said


def test_the_named_one_goes_before_what_is_kept_and_that_before_one_that_lingers(
    home: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[[Path], Path]
) -> None:
    lingers = paths.new_session_dir()
    with lingering.listen("who", serve(lingers)):
        assert choosing.existing() == lingers
        left_by_a_killed_one(paths.daemon_dir())
        assert choosing.existing() == lingers, "not what is dead"
        kept = serve(paths.daemon_dir())
        assert choosing.existing() == choosing.kept() == kept
        named = serve(home / "named")
        monkeypatch.setenv("REKINDLE_DIR", str(named))
        assert choosing.existing() == choosing.named() == named
        assert running.default_instance() == operator.where() == named
