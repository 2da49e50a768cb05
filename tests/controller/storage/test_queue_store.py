"""Counts that Redis gives are taken over in the order in which it made them; what is damaged of an
entry fills no memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from types import SimpleNamespace
from typing import Any

from rekindle.controller.core import Core
from rekindle.controller.queue.stream_loader import StreamLoader
from rekindle.controller.settings import Settings
from rekindle.controller.state import App, Function, State
from rekindle.controller.storage import keys, queue_store
from rekindle.controller.storage.damage import Damage
from rekindle.controller.storage.embedded_redis import redis_url
from rekindle.controller.storage.queue_store import CONSUMER, QueueStore
from rekindle.controller.storage.records import CallMeta, UndoneCount
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.wire.callid import new_call_id
from rekindle.wire.spec import FunctionSpec
from tests.controller.harness import Instance, in_loop, new_id, running_instance

META = CallMeta("ap-1", b"", "", 1, "map")


def a_function() -> Function:
    function_id = new_id("fu")
    return Function(
        function_id,
        "work",
        App("ap-1", "an-app", True),
        FunctionSpec(app_name="an-app", name="work"),
    )


async def accepted(
    store: QueueStore, function: Function, call_id: str, *indexes: int
) -> tuple[str, UndoneCount]:
    got = await store.accept(
        *(function.function_id, call_id, META, b"request", indexes),
        take=False,
        last=False,
        limit=100,
        ttl_s=60,
    )
    return got.entry, got.undone


async def completed(
    store: QueueStore, function: Function, call_id: str, entry: str, *indexes: int
) -> UndoneCount:
    results = [(entry, [(index, b"result") for index in indexes])]
    got = await store.complete(
        *(function.function_id, call_id, results), ordered=True, ttl_s=60, unread_ttl_s=60
    )
    return got.undone


@in_loop
async def test_an_older_count_of_what_is_undone_does_not_replace_a_newer_one() -> None:
    with running_instance(start=False) as instance:
        instance.start_redis()
        link = RedisLink(redis_url(instance.directory), 30.0)
        store, function, call_id = QueueStore(link), a_function(), new_call_id()
        try:
            entry, at_first = await accepted(store, function, call_id, 0, 1, 2)
            one_done = await completed(store, function, call_id, entry, 0)
            all_done = await completed(store, function, call_id, entry, 1, 2)
            again = await completed(store, function, call_id, entry, 1, 2)
            read = await store.undone(function.function_id)
        finally:
            await link.close()
    counts = [at_first.undone, one_done.undone, all_done.undone, again.undone, read.undone]
    assert counts == [3, 2, 0, 0, 0]
    assert at_first.change < one_done.change < all_done.change == again.change == read.change
    # As they were read, which is not as they were written.
    for count in (at_first, all_done, one_done):
        function.counted(count)
    assert function.undone == 0
    function.counted(again)
    assert function.undone == 0


@in_loop
async def test_counts_that_are_asked_for_side_by_side_end_at_what_redis_has(
    redis_alone: Instance,
) -> None:
    link = RedisLink(redis_url(redis_alone.directory), 30.0)
    store, function = QueueStore(link), a_function()

    async def one_call() -> None:
        call_id = new_call_id()
        entry, count = await accepted(store, function, call_id, 0)
        function.counted(count)
        function.counted(await completed(store, function, call_id, entry, 0))

    try:
        await asyncio.gather(*(one_call() for _ in range(200)))
        assert function.undone == 0
        assert await store.depth([function.function_id]) == [0]
    finally:
        await link.close()


@in_loop
async def test_what_redis_has_lost_is_not_taken_for_undone_once_it_is_back(
    redis_alone: Instance,
) -> None:
    link = RedisLink(redis_url(redis_alone.directory), 30.0)
    store, function, call_id = QueueStore(link), a_function(), new_call_id()
    core = Core(State("a"), Settings())
    core.state.functions[function.function_id] = function
    dispatcher: Any = SimpleNamespace(pump=lambda: None)
    no_part: Any = None  # nothing is loaded here
    loader = StreamLoader(core, store, no_part, dispatcher, no_part, Damage(link, "a"))
    try:
        entry, _ = await accepted(store, function, call_id, 0)
        function.counted(await completed(store, function, call_id, entry, 0))
        _, count = await accepted(store, function, call_id, 1, 2)
        function.counted(count)
        assert function.undone == 2
        # As after a power cut, of a Redis that writes once a second.
        queue = keys.queue(function.function_id)
        await link.commands(
            [("FLUSHALL",), ("XGROUP", "CREATE", queue, keys.GROUP, "0", "MKSTREAM")]
        )
        loader.reload()
        await core.tasks.finish()
        assert function.undone == 0
    finally:
        await link.close()


@in_loop
async def test_all_that_is_pending_is_found_however_much_that_is(redis_alone: Instance) -> None:
    link = RedisLink(redis_url(redis_alone.directory), 30.0)
    store, count = QueueStore(link), 1500
    ours, others = (new_id("fu") for _ in range(2))
    try:
        for function_id, consumer in ((ours, CONSUMER), (others, "somebody else")):
            queue = keys.queue(function_id)
            await link.commands([("XADD", queue, "*", "c", "fc-1")] * count)
            await link.command("XGROUP", "CREATE", queue, keys.GROUP, "0")
            group = ("GROUP", keys.GROUP, consumer)
            await link.command("XREADGROUP", *group, "COUNT", count, "STREAMS", queue, ">")
        assert len(set(await store.pending(ours))) == count
        assert len(set(await store.pending(others, 0))) == count
    finally:
        await link.close()


def test_a_damaged_number_of_inputs_fills_no_memory() -> None:
    runs = b"0-9000000,0-9000000"
    meta = [b"ap-1", b"", b"", b"1", b"map", b"1", b"0", b"1", b"0", None, None]
    tracemalloc.start()
    try:
        stored = queue_store._entry([b"1-1", b"fc-a", b"request", runs, b"", b"", meta])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "9000000" in stored.damage and not stored.indexes
    assert peak_bytes < 16 << 20
