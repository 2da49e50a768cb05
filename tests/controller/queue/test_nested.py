"""Calls that inputs made, as they are kept."""

from __future__ import annotations

import pytest

from rekindle.controller.queue import nested
from rekindle.controller.storage import keys
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.harness import Instance, in_loop, new_id, running_instance
from tests.controller.in_process import running_parts


@in_loop
async def test_one_that_is_damaged_hides_no_others() -> None:
    with running_instance(start=False) as instance:
        instance.start_redis()
        async with running_parts(instance) as parts:
            of, one = new_id("fc"), pb.NestedCall(call_id=new_id("fc"))
            kept = ("1", b"\xff", "2", one.SerializeToString())
            await parts.link.command("HSET", keys.nested(of), *kept)
            assert list((await parts.nested.of_call(of)).calls) == [one]


@in_loop
async def test_so_many_are_kept_of_a_call_for_as_long_as_results(
    redis_alone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nested, "_MOST", 3)
    async with running_parts(redis_alone) as parts:
        of = new_id("fc")
        for _ in range(5):
            parts.nested.ended([pb.NestedCall(parent=f"{of}:0", call_id=new_id("fc"))])
            await parts.core.tasks.finish()
        assert len((await parts.nested.of_call(of)).calls) == 3
        ttl_s = await parts.link.command("TTL", keys.nested(of))
        assert 0 < ttl_s <= parts.core.settings.result_ttl_s
