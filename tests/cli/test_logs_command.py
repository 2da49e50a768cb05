"""``rekindle logs`` with a real controller."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from pathlib import Path

import pytest

from rekindle.cli.logs import moment
from rekindle.exception import InvalidError
from rekindle.wire import rekindle_pb2 as pb
from tests.cli import command
from tests.cli.command import Running
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Client, Instance, in_loop, spec

NOW = time.time_ns()


async def run(directory: Path, *argv: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """A command to its end, beside this test's loop."""
    return await asyncio.to_thread(command.rekindle, directory, *argv, status=status)


async def spoken(client: Client, agent: FakeAgent, name: str) -> str:
    """An app with a few lines in its log; its id."""
    app_id, [function_id] = await client.register(name, spec("f"))
    for text, stream in (("hello", "stdout"), ("oh no", "stderr"), ("a note", "system")):
        line = pb.LogLine(
            app_id=app_id, function="f", runner_id="ru-1", stream=stream, text=text, at_ns=NOW
        )
        await agent.send(log=line)
    call = client.invoke(function_id)
    await agent.done(await agent.assigned.get())
    await call
    return app_id


@in_loop
async def test_the_last_lines_of_an_app_by_name_or_id(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id = await spoken(client, agent, "talk")
        where = shared.directory
        for app in ("talk", app_id):
            assert (await run(where, "logs", app)).stdout == "hello\noh no\na note\n"
        assert (await run(where, "logs", "talk", "-n", "1")).stdout == "a note\n"
        found = await run(where, "logs", "talk", "--source", "stdout", "--source", "stderr")
        assert found.stdout == "hello\noh no\n"
        assert (await run(where, "logs", "talk", "--search", "OH")).stdout == "oh no\n"
        assert (await run(where, "logs", "talk", "--since", "1h", "--function", "g")).stdout == ""
        assert (await run(where, "logs", "talk", "--until", "1h")).stdout == ""
        of = await run(where, "logs", "talk", "--function", "talk.f", "-n", "1")
        assert of.stdout == "a note\n"
        stamped = (await run(where, "logs", "talk", "--timestamps")).stdout.splitlines()
        assert stamped[0].endswith(" hello") and stamped[0][4] == "-"
        told = [
            json.loads(line)
            for line in (await run(where, "logs", "talk", "--json")).stdout.splitlines()
        ]
        assert [one["source"] for one in told] == ["stdout", "stderr", "system"]
        assert told[0]["text"] == "hello" and told[0]["runner_id"] == "ru-1"
        missing = await run(where, "logs", "tolk", status=1)
        assert "did you mean 'talk'?" in missing.stderr


@in_loop
async def test_a_closed_app_still_has_its_log(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id = await spoken(client, agent, "over")
        await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        assert (await run(shared.directory, "logs", "over", "-f")).stdout.startswith("hello\n")


@in_loop
async def test_following_goes_on_through_a_restart_and_ends_with_the_app(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        app_id = await spoken(client, agent, "long")
        follower = await Running.start(instance.directory, "logs", "long", "-f")
        try:
            assert [await follower.line() for _ in range(3)] == ["hello", "oh no", "a note"]
            assert instance.end_controller() == 0
            await agent.lost_connection()
            await asyncio.to_thread(instance.start_controller)
            await agent.connect()
            await agent.send(log=pb.LogLine(app_id=app_id, stream="stdout", text="still here"))
            assert await follower.line() == "still here"
            await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
            assert await follower.line() == ""
            assert await follower.end() == (0, "")
        finally:
            follower.kill()


@in_loop
async def test_ctrl_c_ends_following_with_130_and_no_traceback(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        await spoken(client, agent, "patient")
        follower = await Running.start(shared.directory, "logs", "patient", "-f")
        try:
            assert await follower.line() == "hello"
            follower.interrupt()
            assert await follower.end() == (130, "\n")
        finally:
            follower.kill()


@in_loop
async def test_parts_of_a_line_are_put_together(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, [function_id] = await client.register("parts", spec("f"))
        for text, partial, runner in (
            ("1 %", True, "ru-1"),
            (" 2 %", True, "ru-1"),
            ("other", False, "ru-2"),
            ("end", False, "ru-1"),
        ):
            await agent.send(
                log=pb.LogLine(
                    app_id=app_id, stream="stdout", text=text, partial=partial, runner_id=runner
                )
            )
        call = client.invoke(function_id)
        await agent.done(await agent.assigned.get())
        await call
        assert (await run(shared.directory, "logs", "parts")).stdout == "1 % 2 %\nother\nend\n"


def test_without_an_instance_it_says_how_to_start_one(tmp_path: Path) -> None:
    ended = command.rekindle(tmp_path, "logs", "app", status=1)
    assert "is no instance directory" in ended.stderr
    assert "rekindle up" in ended.stderr


def test_a_moment_is_an_age_or_a_time() -> None:
    now = time.time()
    for text, seconds in (("90s", 90), ("5m", 300), ("5min", 300), ("1.5h", 5400), ("2d", 172_800)):
        assert moment("--since", text) / 1e9 == pytest.approx(now - seconds, abs=5)
    assert moment("--until", "2026-01-31T12:00:00+00:00") == 1_769_860_800 * 10**9
    with pytest.raises(InvalidError, match="2h"):
        moment("--until", "yesterday")


@pytest.mark.parametrize("text", ["9999-12-31", "1960-01-01", f"{'9' * 30}d", f"{'9' * 400}d"])
def test_a_moment_however_far_away_is_one(text: str) -> None:
    pb.LogsRequest(since_ns=moment("--since", text))  # raises what it cannot carry
