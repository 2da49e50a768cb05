"""``rekindle dict`` and ``rekindle queue``, beside others who change the same."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from rekindle.cli import options
from rekindle.cli.group import cli
from rekindle.exception import NotFoundError
from rekindle.sdk.objects.dict import Dict
from rekindle.sdk.objects.queue import Queue
from tests.controller.harness import Instance


@pytest.fixture(autouse=True)
def here(shared: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REKINDLE_DIR", str(shared.directory))


@pytest.fixture
def line() -> Iterator[Queue]:
    """A Queue with values in two partitions, besides the one without a name."""
    made = Queue.from_name("command.line", create_if_missing=True)
    made.put_many([1, 2])
    made.put_many([3, 4, 5], partition="x")
    made.put(6, partition="y")
    yield made
    Queue.objects.delete("command.line")


def clear(*argv: str, said: str = "y") -> str:
    ended = CliRunner().invoke(cli, ["queue", "clear", "command.line", *argv], input=f"{said}\n")
    return ended.output


@pytest.mark.parametrize(
    ("argv", "what", "left"),
    [
        ((), "the partition without a name of Queue 'command.line'", 4),
        (("-p", "x"), "partition 'x' of Queue 'command.line'", 3),
        (("--all",), "Queue 'command.line'", 0),
    ],
)
def test_clear_names_the_partition_and_says_what_stays(
    line: Queue, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], what: str, left: int
) -> None:
    monkeypatch.setattr(options, "has_terminal", lambda: True)
    assert f"Take everything out of {what}? [y/N]" in clear(*argv, said="n")
    assert line.len(total=True) == 6
    told = clear(*argv).splitlines()[1:]
    assert told[0] == f"{what[0].upper()}{what[1:]} is empty."
    more = [f"Other partitions have {left} more; --all clears them, too."] if left else []
    assert told[1:] == more
    assert line.len(total=True) == left


@pytest.mark.parametrize("kind", [Dict, Queue])
def test_a_list_leaves_out_what_is_deleted_meanwhile(
    monkeypatch: pytest.MonkeyPatch, kind: type[Dict] | type[Queue]
) -> None:
    names = ["command.first", "command.gone", "command.last"]
    for name in names:
        kind.objects.create(name)
    listing = kind.objects.list

    def interfered(**how: str | None) -> list[Dict] | list[Queue]:
        found = listing(**how)
        kind.objects.delete("command.gone")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(kind.objects, "list", interfered)
        ended = CliRunner().invoke(cli, [kind.__name__.lower(), "list", "--json"])
    assert ended.exit_code == 0, ended
    listed = {one["name"] for one in json.loads(ended.output)}
    assert listed & set(names) == {"command.first", "command.last"}
    for name in listed & set(names):
        kind.objects.delete(name)


@pytest.mark.parametrize("kind", [Dict, Queue])
def test_only_what_is_there_is_asked_about(kind: type[Dict] | type[Queue]) -> None:
    def run(*argv: str) -> Result:
        return CliRunner().invoke(cli, [kind.__name__.lower(), *argv])

    for command in ("delete", "clear"):
        assert isinstance(run(command, "command.typo").exception, NotFoundError)
    assert run("delete", "command.typo", "--allow-missing").exit_code == 0
    kind.objects.create("command.asked")
    for command in ("delete", "clear"):
        assert "add --yes" in str(run(command, "command.asked").exception)
    kind.objects.delete("command.asked")
