"""``rekindle pool``, against a controller and a node that the test plays."""

from __future__ import annotations

import asyncio

from tests.cli.command import rekindle
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Client, Instance, in_loop, spec


@in_loop
async def test_more_spares_than_a_node_may_have_runners_are_cut_and_it_is_said(
    shared: Instance,
) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=4):
        await client.register("cut", spec("f", enable_memory_snapshot=True))

        async def set_spares(count: str, status: int = 0) -> str:
            argv = ("pool", "set", "cut.f", "--spare", count)
            ended = await asyncio.to_thread(rekindle, shared.directory, *argv, status=status)
            return ended.stdout + ended.stderr

        assert "cut to" not in await set_spares("4")
        assert "spare 1000000 is cut to 4 on a node" in await set_spares("1000000")
        assert "--spare 9999999999 must be" in await set_spares("9999999999", 1)
