"""What a policy is told of former times, and what it does where that cannot be read."""

from __future__ import annotations

import asyncio

from rekindle.controller.pools.pool_settings import Changes
from rekindle.controller.storage import keys
from tests.controller.harness import Instance, in_loop
from tests.controller.in_process import registered, running_parts


@in_loop
async def test_a_policy_begins_without_a_past_that_cannot_be_read(redis_alone: Instance) -> None:
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        await parts.link.command("SET", keys.arrivals(function.label, ""), "no record")
        scaler = parts.pools.scaler
        await scaler.set_pool(function, b"", Changes(policy="histogram"), every=True, reset=False)
        (pool,) = scaler._of(function)
        assert pool.missed is not None
        for _ in range(3):
            scaler.accepted(function, b"", 1)
        assert len(pool.missed) == 3
        while pool.missed is not None:
            await asyncio.sleep(0.01)  # it gives no event
        scaler.accepted(function, b"", 1)
        assert pool.missed is None and pool.plan is not None


@in_loop
async def test_what_was_to_be_told_to_a_former_policy_is_let_go(redis_alone: Instance) -> None:
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        scaler = parts.pools.scaler
        for policy in ("histogram", "declared"):
            changes = Changes(policy=policy)
            await scaler.set_pool(function, b"", changes, every=True, reset=False)
        (pool,) = scaler._of(function)
        assert pool.missed is None
