"""What a command says to whoever wrote something else than it takes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.cli import command
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Client, Instance, in_loop, spec


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["logs", "app", "--tail", "abc"], 2, "'abc' is no whole number."),
        (["top", "--interval", "abc"], 2, "'abc' is no number."),
        (["up", "--wait", "abc"], 2, "'abc' is no number."),
        (["deploy", "no.py", "--tag", ""], 2, "--tag: a tag has a word at least"),
        (["deploy", "no.py", "--tag", " "], 2, "--tag: a tag has a word at least"),
        (["deploy", "no.py", "--name", ""], 1, "the app name '' must be 1 to 64 characters"),
        (["serve", "no.py", "-n", ""], 1, "the app name '' must be 1 to 64 characters"),
        (["deploy", "no.py", "--name=-q"], 1, "the app name '-q' must not begin with -"),
        (["run", "-n", "", "no.py"], 1, "the app name '' must be 1 to 64 characters"),
        (["deploy", "-e", "", "no.py"], 1, "the environment name '' must be 1 to 64 characters"),
        (["inputs", "dead", "drop"], 2, "give ids, --function NAME or --all"),
        (["inputs", "cancel", "abc"], 1, "'abc' is not a call id: these start with 'fc-'"),
        (["volume", "create", "v", "--url", "bogus://x"], 1, "Protocol not known: bogus"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_it_is_said_before_an_instance_is_asked(
    argv: list[str], status: int, said: str, tmp_path: Path
) -> None:
    ended = command.rekindle(tmp_path, *argv, status=status, REKINDLE_HOME=str(tmp_path))
    assert said in ended.stderr and "Traceback" not in ended.stderr


@in_loop
async def test_it_is_said_in_the_words_of_the_command(shared: Instance) -> None:
    async def said(*argv: str, status: int = 1) -> str:
        ended = await asyncio.to_thread(command.rekindle, shared.directory, *argv, status=status)
        return ended.stderr.splitlines()[0] if ended.stderr else ""

    async with Client(shared) as client, FakeAgent(shared):
        await client.register("usage", spec("f"))
        assert await said("logs", "usage", "--function", "g", status=0) == (
            "usage has no kept lines with what is asked for."
        )
        assert await said("logs", "usage", status=0) == "usage has no kept lines."
        assert (await said("logs", "usage", "--call", "xyz")).startswith(
            "Error: 'xyz' is not a call id"
        )
        assert await said("logs", "usage", "--runner", "xyz") == (
            "Error: --runner 'xyz': runners are called ru-..."
        )
        both = ("--partition", "x")
        assert await said("queue", "len", "q", "--total", *both) == (
            "Error: give --partition or --total, not both"
        )
        assert await said("queue", "clear", "q", "--all", "--yes", *both) == (
            "Error: give --partition or --all, not both"
        )
        assert await said("pool", "set", "usage.f", "--min", "-1") == (
            "Error: --min -1 must be a whole number of at least 0"
        )
        assert await said("pool", "set", "usage.f", "--min", "5", "--max", "2") == (
            "Error: --min 5 must not be more than --max 2"
        )
