"""Calls that inputs made, as they are kept."""

from __future__ import annotations

from rekindle.controller.storage import keys
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.harness import in_loop, new_id, running_instance
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
