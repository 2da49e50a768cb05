"""Dict and Queue as a program written for Modal uses them, with only its import line changed."""

from __future__ import annotations

import asyncio
import inspect
import queue
from collections.abc import Iterator
from datetime import datetime

import pytest

import rekindle as modal
from tests.controller.harness import running_instance


@pytest.fixture(autouse=True, scope="module")
def here() -> Iterator[None]:
    with running_instance() as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REKINDLE_DIR", str(made.directory))
        yield


@pytest.mark.parametrize("kind", [modal.Dict, modal.Queue])
def test_what_all_objects_have(kind: type[modal.Dict] | type[modal.Queue]) -> None:
    name = f"compat-{kind.__name__}"
    made = kind.from_name(name, create_if_missing=True, environment_name=None)
    assert made.hydrate() is made and made.name == name
    assert isinstance(made.info().created_at, datetime)
    assert kind.from_id(made.object_id).info() == made.info()
    kind.objects.create(name, allow_existing=True)
    assert [one.name for one in kind.objects.list()] == [name]
    kind.objects.delete(name)
    with pytest.raises(modal.exception.NotFoundError):
        kind.from_name(name).hydrate()
    with kind.ephemeral() as temporary:
        assert temporary.object_id.startswith(("di-", "qu-"))


def test_the_methods_of_a_dict_and_their_asyncio_forms() -> None:
    async def main() -> None:
        async with modal.Dict.ephemeral() as d:
            assert await d.put.aio("key", 1) is True
            assert await d.put.aio("key", 2, skip_if_exists=True) is False
            assert await d.get.aio("key") == 1 and await d.get.aio("none", default=3) == 3
            assert await d.pop.aio("key") == 1
            with pytest.raises(KeyError):
                await d.pop.aio("key")
            await d.update.aio({"a": 1}, b=2)
            assert sorted([item async for item in d.items.aio()]) == [("a", 1), ("b", 2)]

    asyncio.run(main())


def test_a_value_that_is_changed_is_changed_when_it_is_put_again() -> None:
    with modal.Dict.ephemeral() as d:
        d["outer"] = {"inner": 1}
        d["outer"]["inner"] = 2
        assert d["outer"] == {"inner": 1}


def test_the_parameters_of_a_queue_and_what_they_do() -> None:
    signature = inspect.signature(modal.Queue.put._body)
    assert list(signature.parameters)[1:] == ["v", "block", "timeout", "partition", "partition_ttl"]
    assert signature.parameters["partition_ttl"].default == 86_400
    with modal.Queue.ephemeral() as q:
        q.put(42)
        q.put_many([1, 2, 3], partition="foo")
        assert q.get() == 42 and q.get(block=False) is None
        assert list(q.iterate(partition="foo", item_poll_timeout=0.0)) == [1, 2, 3]
        assert q.len() == 0 and q.len(partition="foo") == q.len(total=True) == 3
        assert q.get_many(2, partition="foo") == [1, 2]
        with pytest.raises(queue.Empty):
            q.get(timeout=0.01)
        with pytest.raises(modal.exception.RequestSizeError):
            q.put(bytes(2 << 20))
        q.clear(all=True)
        assert q.len(total=True) == 0


def test_a_dict_is_used_as_a_dict() -> None:
    with modal.Dict.ephemeral() as d:
        d["a"] = 1
        assert d["a"] == 1 and "a" in d and "b" not in d and d.contains("a")
        del d["a"]
        for missing in (lambda: d["a"], lambda: d.pop("a"), lambda: d.__delitem__("a")):
            with pytest.raises(KeyError):
                missing()
        assert d.get("a") is None and d.pop("a", "gone") == "gone"
        d.update({n: n * n for n in range(10_000)})  # as many as one update may have there
        assert d.len() == len(d) == 10_000
        assert sorted(d.keys()) == list(range(10_000))
        assert sum(d.values()) == sum(n * n for n in range(10_000))
        assert all(value == key * key for key, value in d.items())
        d.clear()
        assert d.len() == 0 and list(d.items()) == []


def test_keys_and_values_may_be_whatever_cloudpickle_takes() -> None:
    offset = 3
    with modal.Dict.ephemeral() as d, modal.Queue.ephemeral() as q:
        d[("a", 1)] = lambda n: n + offset
        q.put(lambda n: n * offset)
        assert d[("a", 1)](1) == 4 and q.get()(2) == 6
        with pytest.raises(modal.exception.RequestSizeError):
            d["large"] = bytes(101 << 20)


def test_of_those_who_take_a_lock_at_once_one_has_it() -> None:
    async def main() -> None:
        async with modal.Dict.ephemeral() as d:
            told = await asyncio.gather(
                *(d.put.aio("lock", n, skip_if_exists=True) for n in range(20))
            )
            assert sorted(told) == [False] * 19 + [True]
            assert told[await d.get.aio("lock")] is True

    asyncio.run(main())


def test_what_a_queue_does_when_it_is_empty_or_full() -> None:
    with modal.Queue.ephemeral() as q:
        assert q.get(block=False) is None and q.get_many(3, block=False) == []
        for empty in (lambda: q.get(timeout=0.01), lambda: q.get_many(3, timeout=0.01)):
            with pytest.raises(queue.Empty):
                empty()
        q.put_many(list(range(5000)))
        full = (
            lambda: q.put(1, block=False),
            lambda: q.put(1, timeout=0.01),
            lambda: q.put_many([1, 2], block=False),
        )
        for refused in full:
            with pytest.raises(queue.Full):
                refused()
        q.put("elsewhere", partition="p" * 64, partition_ttl=60)
        for name in ("", "p" * 65):
            with pytest.raises(modal.exception.InvalidError):
                q.put(1, partition=name)
        assert q.len() == 5000 and q.len(total=True) == 5001
        assert q.get_many(10_000) == list(range(5000))
        q.put_many([1, 2])
        q.clear()
        assert q.len() == 0 and q.get(partition="p" * 64) == "elsewhere"


def test_to_iterate_takes_nothing_and_waits_as_long_as_it_is_told() -> None:
    async def main() -> None:
        async with modal.Queue.ephemeral() as q:
            await q.put_many.aio(["a", "b"])
            assert [one async for one in q.iterate.aio()] == ["a", "b"]
            seen = q.iterate.aio(item_poll_timeout=60)
            assert [await anext(seen), await anext(seen)] == ["a", "b"]
            coming = asyncio.create_task(anext(seen))
            await q.put.aio("c")
            assert await coming == "c" and await q.len.aio() == 3

    asyncio.run(main())


def test_objects_are_listed_and_deleted_by_name() -> None:
    for name in ("listed-1", "listed-2"):
        modal.Queue.objects.create(name)
    with pytest.raises(modal.exception.AlreadyExistsError):
        modal.Queue.objects.create("listed-1")
    assert [one.name for one in modal.Queue.objects.list(max_objects=1)] == ["listed-2"]
    assert modal.Queue.objects.list(created_before="2001-01-01") == []
    used = modal.Queue.from_name("listed-1")
    used.put(1)
    for name in ("listed-1", "listed-2"):
        modal.Queue.objects.delete(name)
    with pytest.raises(modal.exception.NotFoundError, match="listed-1"):
        used.put(2)
    with pytest.raises(modal.exception.NotFoundError):
        modal.Queue.objects.delete("listed-1")
    modal.Queue.objects.delete("listed-1", allow_missing=True)
