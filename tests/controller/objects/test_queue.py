"""Queue, from a program to Redis and back."""

from __future__ import annotations

import asyncio
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from rekindle import Queue
from rekindle.exception import DeserializationError, InvalidError, NotFoundError, RequestSizeError
from rekindle.wire import object_keys
from tests.e2e.harness import wait_until

#: Longer than any step takes; nothing waits for it to end.
LONG_S = 60
#: What has come to nothing of a request that waits: in Redis itself, and as the controller asks.
IN_LINE = 2


@pytest.fixture
def q() -> Iterator[Queue]:
    with Queue.ephemeral() as made:
        yield made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def test_values_come_in_the_order_in_which_they_went(q: Queue) -> None:
    q.put(1)
    q.put_many([2, "three", None])
    assert q.len() == 4 and list(q.iterate()) == [1, 2, "three", None] and q.len() == 4
    assert q.get() == 1 and q.get_many(2) == [2, "three"] and q.get() is None
    assert q.get(block=False) is None and q.get_many(5, block=False) == []
    for wait in (lambda: q.get(timeout=0.01), lambda: q.get_many(2, timeout=0.01)):
        with pytest.raises(queue.Empty):
            wait()
    q.put_many(range(10))
    q.clear()
    assert q.len() == 0


def _raise_here() -> None:
    raise ValueError("not here")


class _NotHere:
    """Its pickle cannot be read."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _raise_here, ()


@pytest.mark.parametrize("plenty", [0, 100])
def test_a_value_that_cannot_be_unpickled_takes_no_other_with_it(q: Queue, plenty: int) -> None:
    """By a script and, where they are many, without."""
    values = [1, 2, _NotHere(), _NotHere(), *range(3, 3 + plenty), "last"]
    q.put_many(values)
    q.put_many(values, partition="p")
    assert q.get_many(5000) == [1, 2]
    for left in (plenty + 2, plenty + 1):
        with pytest.raises(DeserializationError, match="ValueError: not here"):
            q.get_many(5000)
        assert q.len() == left
    assert q.get_many(5000) == [*range(3, 3 + plenty), "last"]
    assert q.len(partition="p") == len(values)

    async def scenario() -> None:
        assert await q.get_many.aio(5000, partition="p") == [1, 2]
        with pytest.raises(DeserializationError):
            await q.get_many.aio(5000, partition="p")
        with pytest.raises(DeserializationError):
            await q.get.aio(partition="p")
        got = await q.get_many.aio(5000, partition="p")
        assert got == [*range(3, 3 + plenty), "last"]

    asyncio.run(scenario())
    assert q.len(total=True) == 0


def _interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


class _Interrupting:
    """Ctrl-C comes while it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _interrupt, ()


@pytest.mark.parametrize("take", [lambda q: q.get_many(5), lambda q: q.get()])
def test_what_is_unpickled_when_ctrl_c_comes_stays_in_the_queue(
    q: Queue, take: Callable[[Queue], object]
) -> None:
    q.put_many([_Interrupting(), 1, 2])
    with pytest.raises(KeyboardInterrupt):
        take(q)
    assert q.len() == 3


def test_partitions_know_nothing_of_one_another(q: Queue) -> None:
    q.put("plain")
    q.put("a", partition="one")
    q.put_many(["b", "c"], partition="two")
    assert q.len(total=True) == 4 and q.len(partition="two") == 2 and q.len() == 1
    assert q.get(partition="two") == "b" and q.get() == "plain"
    q.clear(partition="one")
    assert q.len(partition="one") == 0 and q.len(total=True) == 1
    q.put(1)
    q.clear(all=True)
    assert q.len(total=True) == 0
    for bad in ("", "x" * 65):
        with pytest.raises(InvalidError, match="1 to 64"):
            q.put(1, partition=bad)
    with pytest.raises(InvalidError, match="not both"):
        q.len(partition="one", total=True)


def test_who_waits_is_woken_and_nothing_is_polled(
    q: Queue, pool: ThreadPoolExecutor, scripts_run: Callable[[str], int]
) -> None:
    before = scripts_run(q.object_id)
    got = pool.submit(q.get)
    wait_until(lambda: scripts_run(q.object_id) == before + IN_LINE, "the get has found nothing")
    q.put("woken")
    assert got.result(LONG_S) == "woken"
    assert scripts_run(q.object_id) == before + IN_LINE + 2  # the put, and the get once more


def test_those_who_wait_are_served_in_their_order(
    q: Queue, pool: ThreadPoolExecutor, scripts_run: Callable[[str], int]
) -> None:
    waits = []
    for _ in range(3):
        before = scripts_run(q.object_id)
        waits.append(pool.submit(q.get, timeout=LONG_S))
        wait_until(lambda at=before: scripts_run(q.object_id) == at + IN_LINE, "it waits")
    for number in range(3):
        q.put(number)
    assert [wait.result(LONG_S) for wait in waits] == [0, 1, 2]


def test_a_full_partition_makes_puts_wait_or_fail(
    q: Queue, pool: ThreadPoolExecutor, scripts_run: Callable[[str], int]
) -> None:
    q.put_many(range(5000))
    for put in (lambda: q.put(1, block=False), lambda: q.put_many([1, 2], timeout=0.01)):
        with pytest.raises(queue.Full):
            put()
    q.put("elsewhere", block=False, partition="other")
    before = scripts_run(q.object_id)
    waiting = pool.submit(q.put, "last")
    wait_until(lambda: scripts_run(q.object_id) == before + IN_LINE, "the put has found no room")
    assert q.get() == 0
    waiting.result(LONG_S)
    assert q.get_many(5000) == [*range(1, 5000), "last"]


def test_a_partition_has_room_for_64_mib_in_items_of_one(q: Queue) -> None:
    with pytest.raises(RequestSizeError, match="limit is 1,048,576"):
        q.put(bytes(1 << 20))
    item = bytes((1 << 20) - 100)
    q.put_many([item] * 64)
    with pytest.raises(queue.Full):
        q.put(item, block=False)
    q.put("small", block=False)
    assert q.get() == item
    q.put(item, block=False)


def test_more_than_fits_goes_in_parts_as_there_is_room(q: Queue, pool: ThreadPoolExecutor) -> None:
    waiting = pool.submit(q.put_many, range(12_000))
    found: list[int] = []
    while len(found) < 12_000:
        found += q.get_many(5000, timeout=LONG_S)
    waiting.result(LONG_S)
    assert found == list(range(12_000))


def test_a_partition_goes_when_its_time_is_over(q: Queue, stored: redis.Redis) -> None:
    q.put(1)
    q.put(2, partition="short", partition_ttl=100)
    plain, short = (object_keys.queue_items(q.object_id, name) for name in ("", "short"))
    assert 86_300 < stored.ttl(plain) <= 86_400 and 0 < stored.ttl(short) <= 100
    q.put_many(range(5000), partition="brief", partition_ttl=1)
    q.put("next", partition="brief", timeout=LONG_S)  # there is room when all of it is gone
    assert q.get(partition="brief") == "next" and q.len(total=True) == 2
    with pytest.raises(InvalidError, match="partition_ttl"):
        q.put(1, partition_ttl=8 * 86_400)


def test_to_look_at_values_takes_none_and_goes_on_with_what_comes(
    q: Queue, pool: ThreadPoolExecutor, scripts_run: Callable[[str], int]
) -> None:
    q.put_many(range(250))
    seen = q.iterate(item_poll_timeout=LONG_S)
    assert [next(seen) for _ in range(250)] == list(range(250))
    q.get_many(200)
    before = scripts_run(q.object_id)
    coming = pool.submit(next, seen)
    wait_until(lambda: scripts_run(q.object_id) == before + IN_LINE, "it waits for more")
    q.put("more")
    assert coming.result(LONG_S) == "more" and q.len() == 51


def test_every_method_has_its_asyncio_form_and_a_cancelled_get_takes_nothing(
    q: Queue, scripts_run: Callable[[str], int]
) -> None:
    async def use() -> None:
        await q.put.aio(1)
        await q.put_many.aio([2, 3])
        assert [v async for v in q.iterate.aio()] == [1, 2, 3]
        assert await q.get.aio() == 1 and await q.get_many.aio(9) == [2, 3]
        with pytest.raises(queue.Empty):
            await q.get.aio(timeout=0.01)
        before = scripts_run(q.object_id)
        waiting = asyncio.create_task(q.get.aio())
        while scripts_run(q.object_id) < before + IN_LINE:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await q.put.aio("kept")
        # It may have been taken before the controller heard of that, and is put back then.
        assert await q.get.aio(timeout=LONG_S) == "kept"
        await q.put.aio("kept")
        # Cancelled while it may be on its way: whoever comes next gets the value.
        for _ in range(50):
            taking = asyncio.create_task(q.get.aio())
            await asyncio.sleep(0)
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
            assert await q.get.aio(timeout=LONG_S) == "kept"
            await q.put.aio("kept")
        gets = [asyncio.create_task(q.get.aio()) for _ in range(100)]
        await q.put_many.aio(range(99))
        assert sorted(map(str, await asyncio.gather(*gets))) == sorted(
            map(str, (*range(99), "kept"))
        )
        await q.clear.aio()

    asyncio.run(use())


def test_who_waits_at_a_queue_that_is_deleted_is_told(
    pool: ThreadPoolExecutor, scripts_run: Callable[[str], int]
) -> None:
    made = Queue.from_name("to.be-deleted", create_if_missing=True)
    made.hydrate()
    before = scripts_run(made.object_id)
    waiting = pool.submit(made.get)
    wait_until(lambda: scripts_run(made.object_id) == before + IN_LINE, "it waits")
    Queue.objects.delete("to.be-deleted")
    with pytest.raises(NotFoundError):
        waiting.result(LONG_S)


def test_many_threads_put_and_get_each_value_once(q: Queue) -> None:
    found: list[int] = []

    def take() -> None:
        while (value := q.get(timeout=LONG_S)) is not None:
            found.append(value)

    takers = [threading.Thread(target=take) for _ in range(4)]
    for one in takers:
        one.start()
    with ThreadPoolExecutor(4) as putters:
        list(putters.map(q.put, range(400)))
    q.put_many([None] * len(takers))
    for one in takers:
        one.join()
    assert sorted(found) == list(range(400))
