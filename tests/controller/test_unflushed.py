"""The queue's file cannot be flushed to disk: nothing is acknowledged until it is written anew."""

from __future__ import annotations

import asyncio

import pytest

from rekindle.controller.storage import keys
from rekindle.wire import rekindle_pb2 as pb
from tests.controller import failing_fsync
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Client, in_loop, running_instance, spec
from tests.e2e.harness import wait_until


@in_loop
async def test_what_cannot_be_flushed_is_not_acknowledged_and_is_written_anew() -> None:
    with running_instance(start=False, REKINDLE_REDIS_PATIENCE_S="1") as instance:
        instance.start_redis()
        instance.start_controller(program=failing_fsync.__name__)
        files = instance.directory / "redis" / "appendonlydir"
        async with Client(instance) as client:
            _, [function_id] = await client.register("app", spec())
            await client.submit(function_id, {0: b"flushed"})
            damaged = {one.name for one in files.glob("*.aof")}
            (instance.directory / failing_fsync.FLAG).touch()
            await client.submit(function_id, {0: b"of the last second"})
            await instance.until_logged("cannot flush to disk")
            with pytest.raises(Exception, match=r"could not be flushed .*Input.output error"):
                await client.submit(function_id, {0: b"not flushed"})
            status = await client.call("Status", pb.StatusRequest())
            assert "could not be flushed to disk" in status.redis.reason
            (instance.directory / failing_fsync.FLAG).unlink()
            await instance.until_logged("all is on disk again")
            assert not any((files / name).exists() for name in damaged)
            await client.submit(function_id, {0: b"flushed"})
            status = await client.call("Status", pb.StatusRequest())
            assert status.redis.reason == ""


@in_loop
async def test_nor_is_a_result_or_a_cancellation_before_it_is_flushed() -> None:
    with running_instance(start=False) as instance:
        instance.start_redis()
        instance.start_controller(program=failing_fsync.__name__)
        async with Client(instance) as client, FakeAgent(instance) as agent:
            _, [function_id] = await client.register("app", spec())
            ran = await client.submit(function_id, {0: b"runs"})
            assign = await agent.assigned.get()
            (instance.directory / failing_fsync.FLAG).touch()
            other = await client.submit(function_id, {0: b"of the last second"})
            await instance.until_logged("cannot flush to disk")
            await agent.done(assign)
            request = pb.CancelCallRequest(call_id=other)
            cancelling = client.call("CancelCall", request)
            stored = instance.redis_client()
            results, call = keys.results(function_id, ran), keys.call(function_id, other)
            await asyncio.to_thread(
                wait_until,
                lambda: stored.hexists(results, "0") and stored.hexists(call, "x"),
                "both to be written",
            )
            for _ in range(3):  # what was told before them comes before them
                await client.call("Status", pb.StatusRequest())
            assert agent.acks.empty() and not cancelling.done()
            (instance.directory / failing_fsync.FLAG).unlink()
            await cancelling
            while (ack := await agent.acks.get()).call_id != ran:
                pass
            assert list(ack.indexes) == [0]
