"""A controller that is killed while it deletes a Dict or Queue leaves nothing of it for ever."""

from __future__ import annotations

import asyncio

import pytest

from rekindle import Dict, Queue
from rekindle.exception import Error
from rekindle.wire import object_keys
from tests.controller.damaged import replaced
from tests.controller.harness import Instance, in_loop
from tests.redis_server import refusing


@in_loop
async def test_what_a_killed_controller_had_begun_to_delete_is_gone_and_nothing_else(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_DIR", str(instance.directory))
    kept = Dict.from_name("kept", create_if_missing=True)
    await kept.put.aio("key", "value")
    one = Dict.from_name("one", create_if_missing=True)
    await one.put.aio("key", "value")
    two = Queue.from_name("two", create_if_missing=True)
    for partition in ("a", "b"):
        await two.put.aio("item", partition=partition)
    ids = one.object_id, two.object_id
    with instance.redis_client() as server:

        def left() -> list[bytes]:
            return [key for of in ids for key in server.scan_iter(f"*{{{of}}}*")]

        # Between the record, which goes first, and what is in it.
        with refusing(server, "unlink"):
            for objects, name in ((Dict.objects, "one"), (Queue.objects, "two")):
                with pytest.raises(Error):
                    await objects.delete.aio(name)
            assert any(b":entries" in key for key in left())
            assert sum(b":items:" in key for key in left()) == 2
            instance.kill_controller()
        instance.start_controller()
        # The record goes last; answers have an end.
        while server.keys("rk:objects-going:*") or any(b"rk:answer:" not in key for key in left()):
            await asyncio.sleep(0.01)  # it gives no event
        assert await Dict.from_name("kept").get.aio("key") == "value"
        anew = Dict.from_name("one", create_if_missing=True)
        assert await anew.len.aio() == 0 and anew.object_id not in ids


@in_loop
async def test_a_queue_that_is_damaged_can_be_deleted_with_all_that_is_in_it(
    shared: Instance,
) -> None:
    queue = Queue.from_name("damaged", create_if_missing=True)
    for partition in ("a", "b"):
        await queue.put.aio("item", partition=partition)
    with shared.redis_client() as server:
        replaced(server, [object_keys.queue_partitions(queue.object_id)])
        await Queue.objects.delete.aio("damaged")
        assert not server.keys(f"rk:queue:{{{queue.object_id}}}:*")
        assert not server.keys("rk:objects-going:*")
