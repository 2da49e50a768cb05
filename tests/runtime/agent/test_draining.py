"""What is left of an app that has ended while something was still done for it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from rekindle.runtime.agent.draining import Draining


def test_a_template_goes_once_the_snapshot_that_is_made_of_it_is_made() -> None:
    async def scenario() -> None:
        made, shut = asyncio.Event(), []
        making = asyncio.create_task(made.wait())
        revision = SimpleNamespace(background={making}, shut=lambda: shut.append("shut"))
        making.add_done_callback(revision.background.discard)
        inventory: Any = SimpleNamespace(pools={}, revisions={"revision": revision})
        nothing: Any = None
        draining = Draining(inventory, nothing, nothing, nothing)
        pool: Any = SimpleNamespace(revision=revision)
        draining._drop_templates([pool])
        assert inventory.revisions and not shut
        made.set()
        while making in revision.background or inventory.revisions:
            await asyncio.sleep(0)
        assert shut == ["shut"]

    asyncio.run(asyncio.wait_for(scenario(), 10))
