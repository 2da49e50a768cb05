"""What a policy is told of former times, and what it does where that cannot be read."""

from __future__ import annotations

import asyncio

from rekindle.controller.pools import past
from rekindle.controller.pools.pool_settings import Changes
from rekindle.controller.storage import keys
from tests.controller.harness import Instance, in_loop
from tests.controller.in_process import registered, running_parts
from tests.controller.pools.test_pool_state import Sizer


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


def test_the_past_is_told_with_the_quiet_times_between_inputs() -> None:
    sizer = Sizer()
    past.tell(sizer, [(0.0, 2), (0.5, 1), (10.0, 1), (99.0, 1)], 1.0, 50.0)  # type: ignore[arg-type]
    assert sizer.told == [
        ("arrived", 0.0),
        ("arrived", 0.0),
        ("arrived", 0.5),
        ("quiet", 1.5),
        ("arrived", 10.0),
        ("quiet", 11.0),
    ]
