"""Which version of a deployed app a row is of, in commands that list functions."""

from __future__ import annotations

import asyncio

import pytest

from tests.cli.command import rekindle
from tests.controller.deployments.deployer import Deployer
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Instance, in_loop


@pytest.mark.parametrize("argv", [("status",), ("pool", "ls"), ("inputs", "ls")])
@in_loop
async def test_rows_of_a_version_that_is_not_the_one_called_say_so(
    instance: Instance, argv: tuple[str, ...]
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(None)
        await client.deploy("a", name="shop")
        works = asyncio.ensure_future(client.send(await client.find(app="shop")))
        await agent.assigned.get()  # it runs, so its version does not end
        await client.deploy("b", name="shop")
        agent.starts = None
        tried = asyncio.ensure_future(client.deploy("c", name="shop"))
        while (await agent.prepares.get()).function_id == await client.find(app="shop"):
            pass
        out = (await asyncio.to_thread(rekindle, instance.directory, *argv)).stdout
        for one in (works, tried):
            one.cancel()
        await asyncio.gather(works, tried, return_exceptions=True)
    rows = [line for line in out.splitlines() if "shop" in line]
    for mark in ("(version 1, former)", "(version 3, on trial)"):
        assert any(mark in row for row in rows), out
    assert any("version" not in row for row in rows), "the one that is called has no mark"
