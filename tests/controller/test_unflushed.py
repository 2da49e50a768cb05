"""The queue's file cannot be flushed to disk: nothing is acknowledged until it is written anew."""

from __future__ import annotations

import pytest

from rekindle.wire import rekindle_pb2 as pb
from tests.controller import failing_fsync
from tests.controller.harness import Client, in_loop, running_instance, spec


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
