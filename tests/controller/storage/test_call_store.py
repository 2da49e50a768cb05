"""Where calls belong, and for how long that is known."""

from __future__ import annotations

import pytest

from rekindle.controller.storage import keys
from rekindle.controller.storage.call_store import CallStore
from rekindle.controller.storage.damage import Damage
from rekindle.controller.storage.embedded_redis import redis_url
from rekindle.controller.storage.records import CallIndex
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.wire.callid import new_call_id
from tests.controller.harness import Instance, in_loop
from tests.controller.storage.interrupting import Interrupting


@pytest.mark.parametrize(
    ("begun", "then"),
    [("time", "ZADD"), ("time", "EXPIRE"), ("taken", "UNLINK"), ("taken", "ZREM")],
)
@in_loop
async def test_a_call_that_is_taken_as_its_time_begins_is_not_listed(
    redis_alone: Instance, begun: str, then: str
) -> None:
    """Whichever of the two comes between the commands of the other."""
    link = Interrupting(redis_url(redis_alone.directory))
    store, call_id = CallStore(link, "a", Damage(link, "a")), new_call_id()
    plain = RedisLink(redis_url(redis_alone.directory), 30.0)
    other = CallStore(plain, "a", Damage(plain, "a"))
    try:
        await store.index_call(call_id, CallIndex("fu-1", "an-app", "work"))
        if begun == "time":
            link.after[then] = lambda: other.drop_indexes([call_id])
            await store.expire_indexes([call_id], 60)
        else:
            link.after[then] = lambda: other.expire_indexes([call_id], 60)
            await store.drop_indexes([call_id])
        assert not link.after
        assert await plain.command("ZCARD", keys.kept("a")) == 0
        assert await store.index_of(call_id) is None
    finally:
        await link.close()
        await plain.close()


@in_loop
async def test_a_listed_call_that_is_gone_is_not_counted(redis_alone: Instance) -> None:
    link = RedisLink(redis_url(redis_alone.directory), 30.0)
    store, calls = CallStore(link, "a", Damage(link, "a")), [new_call_id() for _ in range(3)]
    try:
        at = CallIndex("fu-1", "an-app", "work")
        for call_id in calls:
            await store.index_call(call_id, at)
        await store.expire_indexes(calls, 60)
        await link.command("DEL", keys.call_index(calls[1]))
        count, shown = await store.kept(1000)
        assert (count, {call_id for call_id, _, _ in shown}) == (2, {calls[0], calls[2]})
        assert await link.command("ZCARD", keys.kept("a")) == 2
    finally:
        await link.close()


@in_loop
async def test_calls_are_logged_of_which_it_cannot_be_read_where_they_belong(
    redis_alone: Instance, caplog: pytest.LogCaptureFixture
) -> None:
    link = RedisLink(redis_url(redis_alone.directory), 30.0)
    store, calls = CallStore(link, "a", Damage(link, "a")), [new_call_id() for _ in range(2)]
    try:
        await link.command("SET", keys.call_index(calls[0]), "what")
        await link.command("RPUSH", keys.call_index(calls[1]), "what")
        assert await store.indexes_of(calls) == [None, None]
    finally:
        await link.close()
    text = "what is stored cannot be read"  # an instance of tests before may say other things
    said = [one for one in caplog.records if one.getMessage() == text]
    assert [vars(record)["fields"]["of"] for record in said] == calls
