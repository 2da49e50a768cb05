"""Dict, from a program to Redis and back."""

from __future__ import annotations

import asyncio
import pickle
import struct
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from rekindle import Dict
from rekindle.exception import (
    AlreadyExistsError,
    InvalidError,
    NotFoundError,
    RequestSizeError,
    SerializationError,
)
from rekindle.sdk.objects.keys import identity
from rekindle.wire import object_keys

WEEK_S = 7 * 24 * 3600


@dataclass(frozen=True)
class Point:
    x: int
    name: str


def test_every_method_does_what_that_of_a_dict_does() -> None:
    with Dict.ephemeral() as d:
        assert d.put("a", 1) is True and d["a"] == 1
        d["a"] = [1, {"b": None}]
        assert d.get("a") == [1, {"b": None}] and d.get("no") is None and d.get("no", 5) == 5
        assert "a" in d and "no" not in d and d.contains("a")
        with pytest.raises(KeyError, match="no"):
            d["no"]
        with pytest.raises(KeyError):
            d.pop("no")
        with pytest.raises(KeyError):
            del d["no"]
        assert d.pop("no", 9) == 9
        d.update({"b": 2, Point(1, "p"): 3}, c=4)
        assert len(d) == d.len() == 4
        assert set(d.keys()) == set(d) == {"a", "b", "c", Point(1, "p")}
        assert dict(d.items())[Point(1, "p")] == 3
        assert sorted(map(str, d.values())) == sorted(map(str, ([1, {"b": None}], 2, 3, 4)))
        assert d.pop("b") == 2 and "b" not in d
        del d["c"]
        d.clear()
        assert len(d) == 0 and list(d.items()) == []


def test_every_method_has_its_asyncio_form() -> None:
    async def use() -> None:
        async with Dict.ephemeral() as d:
            assert await d.put.aio(1, 2) and not await d.put.aio(1, 3, skip_if_exists=True)
            await d.update.aio({i: i for i in range(100)})
            assert await d.get.aio(1) == 1 and await d.contains.aio(99)
            assert await d.len.aio() == 100 and await d.pop.aio(1) == 1
            assert sum([v async for v in d.values.aio()]) == sum(range(100)) - 1
            assert len([k async for k in d.keys.aio()]) == 99
            assert all([k == v async for k, v in d.items.aio()])
            assert (await d.info.aio()).name is None
            await d.clear.aio()
            # Many at once share one connection.
            await asyncio.gather(*(d.put.aio(i, -i) for i in range(300)))
            found = await asyncio.gather(*(d.get.aio(i) for i in range(300)))
            assert found == [-i for i in range(300)]

    asyncio.run(use())


def test_keys_that_are_equal_are_one_key() -> None:
    with Dict.ephemeral() as d:
        d[1] = "one"
        assert d[True] == d[1.0] == "one" and d.get("1") is None
        d["ab"] = 1
        assert d["".join(("a", "b"))] == 1
        part = "x" * 3
        d[(part, part, 1.5)] = 2  # one object twice, and two equal ones
        assert d[("xxx", "".join(("x", "xx")), 1.5)] == 2
        assert list(d.keys()).count(("xxx", "xxx", 1.5)) == 1
        d[frozenset(("a", "b", "c"))] = 3
        assert d[frozenset(("c", "b", "a"))] == 3
        d["long" * 200] = 4
        assert d["long" * 200] == 4 and "long" * 200 in set(d)


def test_of_many_who_put_unless_it_exists_one_is_told_it_did() -> None:
    with Dict.ephemeral() as d:
        told: list[bool] = []

        def try_it(number: int) -> None:
            told.append(d.put("lock", number, skip_if_exists=True))

        threads = [threading.Thread(target=try_it, args=(n,)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(told) == [False] * 11 + [True]
        assert d["lock"] in range(12)


def test_what_goes_in_many_parts_arrives_whole() -> None:
    with Dict.ephemeral() as d:
        d.update({n: bytes(2000) for n in range(12_000)})
        assert len(d) == 12_000
        assert sorted(d.keys()) == list(range(12_000))


def test_a_page_is_asked_for_ahead_and_what_comes_between_gets_its_own_answers() -> None:
    with Dict.ephemeral() as d:
        many = {f"key {n}": n for n in range(20_000)}
        d.update(many)
        found: dict[str, int] = {}
        others = [iter(d.items()) for _ in range(3)]
        for number, (key, value) in enumerate(d.items()):
            found[key] = value
            if number % 700 == 0:
                assert d["key 7"] == 7 and d.put("key 7", 7)  # on the same connection
                next(others[number // 700 % 3])  # begun, gone on with now and then, given up
        assert found == many
        assert [dict(one) for one in others] != []
        assert d["key 7"] == 7 and len(d) == 20_000


def test_pairs_may_have_keys_that_cannot_be_hashed() -> None:
    with Dict.ephemeral() as d:
        d.update([([1, 2], "list"), ("a", 1), ("a", 2)], b=3)
        assert d[[1, 2]] == "list" and d["a"] == 2 and d["b"] == 3 and len(d) == 3


def test_a_value_may_have_100_mib_and_no_more() -> None:
    with Dict.ephemeral() as d:
        large = bytes(30 << 20)
        d["large"] = large
        assert d["large"] == large
        with pytest.raises(RequestSizeError, match="104,857,600"):
            d["larger"] = bytes(101 << 20)
        with pytest.raises(SerializationError, match="lock"):
            d["x"] = threading.Lock()


def test_an_entry_goes_when_no_one_has_used_it_for_seven_days(stored: redis.Redis) -> None:
    with Dict.ephemeral() as d:
        d.update({"old": 1, "read": 2, "new": 3})
        key = object_keys.dict_entries(d.object_id)

        def age(name: str, seconds: float) -> None:
            entry: Any = stored.hget(key, identity(name))
            used = struct.pack(">I", int(time.time() - seconds))
            stored.hset(key, identity(name), used + entry[4:])

        def used(name: str) -> float:
            entry: Any = stored.hget(key, identity(name))
            return time.time() - struct.unpack_from(">I", entry)[0]

        age("read", WEEK_S - 60)
        assert d["read"] == 2 and used("read") < 60  # to read it keeps it
        age("old", WEEK_S + 1)
        assert sorted(d.keys()) == ["new", "read"] and stored.hlen(key) == 2
        age("new", WEEK_S + 1)
        assert "new" not in d and d.get("new") is None
        d["lock"] = 1
        age("lock", WEEK_S + 1)
        assert d.put("lock", 2, skip_if_exists=True) and d["lock"] == 2
        assert WEEK_S < stored.ttl(key) <= WEEK_S + 7200


def test_a_name_is_found_from_everywhere_and_made_where_asked_for() -> None:
    name = "found.from-everywhere"
    with pytest.raises(NotFoundError, match="create_if_missing"):
        Dict.from_name(name).get(1)
    made = Dict.from_name(name, create_if_missing=True)
    made[1] = 2
    assert Dict.from_name(name)[1] == 2 == Dict.from_id(made.object_id)[1]
    travelled = pickle.loads(pickle.dumps(Dict.from_name(name)))
    assert travelled[1] == 2 and travelled.name == name
    with pytest.raises(NotFoundError):
        Dict.from_name(name, environment_name="other").len()
    info = made.info()
    assert info.name == name and info.created_at.timestamp() <= time.time()
    with pytest.raises(AlreadyExistsError, match=name):
        Dict.objects.create(name)
    Dict.objects.create(name, allow_existing=True)
    assert name in [one.name for one in Dict.objects.list()]
    assert Dict.objects.list(created_before="2001-01-01") == []
    Dict.objects.delete(name)
    Dict.objects.delete(name, allow_missing=True)
    with pytest.raises(NotFoundError):
        Dict.objects.delete(name)
    with pytest.raises(NotFoundError, match=f"{name}.*deleted"):
        made.get(1)
    with pytest.raises(NotFoundError, match=f"{name}.*deleted"):
        asyncio.run(made.put.aio(1, 2))
    with pytest.raises(NotFoundError, match=made.object_id):
        Dict.from_id(made.object_id).get(1)


def test_what_is_no_name_and_no_dict_is_refused() -> None:
    for bad in ("", "a b", "x" * 65, "a/b"):
        with pytest.raises(InvalidError):
            Dict.from_name(bad)
    with pytest.raises(InvalidError, match="di-"):
        Dict.from_id("qu-1")
    with pytest.raises(InvalidError, match="from_name"):
        Dict()


def test_an_ephemeral_one_leaves_nothing(stored: redis.Redis) -> None:
    with Dict.ephemeral() as d:
        d["a"] = 1
        assert stored.exists(object_keys.dict_entries(d.object_id))
    assert not stored.exists(object_keys.dict_entries(d.object_id))
    with pytest.raises(NotFoundError):
        d.get("a")
