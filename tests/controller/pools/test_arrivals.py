"""Arrivals on a real Redis: bounded, exact, read back by the next controller and by policies."""

from __future__ import annotations

import asyncio
import itertools
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rekindle.controller.pools import arrivals as arrivals_module
from rekindle.controller.pools.arrivals import ArrivalLog
from rekindle.controller.pools.blocks import BLOCK
from rekindle.controller.storage import keys
from rekindle.controller.storage.embedded_redis import redis_url
from rekindle.controller.storage.redis_link import RedisLink
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Client, Instance, in_loop, new_id, spec
from tests.controller.pools.agents import order_for, recorded, set_pool


@asynccontextmanager
async def link_to(instance: Instance) -> AsyncIterator[RedisLink]:
    link = RedisLink(redis_url(instance.directory), 5.0)
    try:
        yield link
    finally:
        await link.close()


@in_loop
async def test_what_one_controller_recorded_another_adds_to(shared: Instance) -> None:
    async with link_to(shared) as link:
        name, now = (new_id("app") + ".f", ""), time.time()
        first = ArrivalLog(link)
        first.arrived(name, 2, now - 10)
        first.served(name, 2, 0.5)
        await first.flush()
        second = ArrivalLog(link)
        second.arrived(name, 1, now - 5)
        second.served(name, 1, 0.25)
        await second.flush()
        record = await second.record(name)
        assert [(round(at - now), count) for at, count in record.arrivals] == [(-10, 2), (-5, 1)]
        assert record.service.count == 3 and record.service.mean_s == pytest.approx(0.25)
        assert sum(count for _, count in record.minutes) == 3


@in_loop
async def test_what_a_former_version_recorded_is_found_and_goes_on(shared: Instance) -> None:
    async with link_to(shared) as link:
        label, now = new_id("app") + ".C", time.time()
        record = ArrivalLog(link)
        for digest in ("d1", "d2"):
            record.arrived((label, digest), 1, now - 10)
        await record.flush()
        await link.command("DEL", keys.arrivals_of(label))
        await link.command("SADD", keys.former_arrivals_of(label), "d1", "d2")
        later = ArrivalLog(link)
        later.arrived((label, "d2"), 1, now)  # before it has looked
        await later.flush()
        keeping = asyncio.create_task(later.keep_forever())
        try:
            async with asyncio.timeout(60):
                while await link.command("EXISTS", keys.former_arrivals_of(label)):
                    await asyncio.sleep(0.01)
        finally:
            keeping.cancel()
        assert label in await later.labels()
        found = {one.digest: len(one.arrivals) for one in await later.records(label)}
        assert found == {"d1": 1, "d2": 2}
        assert await link.command("TTL", keys.arrivals_of(label)) > 0


@in_loop
async def test_blocks_follow_each_other_and_writing_twice_changes_nothing(
    shared: Instance,
) -> None:
    async with link_to(shared) as link:
        name, start = (new_id("app") + ".f", "d1"), time.time() - 5000
        record = ArrivalLog(link)
        for i in range(3 * BLOCK + 7):
            record.arrived(name, 1, start + i)
            if i % 700 == 0:
                await record.flush()
        await record.flush()
        await record.flush()
        found = (await record.record(name)).arrivals
        assert len(found) == 3 * BLOCK + 7
        assert all(
            b[0] - a[0] == pytest.approx(1.0, abs=0.01) for a, b in itertools.pairwise(found)
        )
        assert await record.labels() != [] and name[0] in await record.labels()


@in_loop
async def test_the_record_is_bounded_and_goes_some_day(
    shared: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals_module, "_KEPT_BLOCKS", 2)
    async with link_to(shared) as link:
        name, start = (new_id("app") + ".f", ""), time.time() - 20_000
        record = ArrivalLog(link)
        for i in range(6 * BLOCK):
            record.arrived(name, 1, start + i)
            if i % BLOCK == 0:
                await record.flush()
        await record.flush()
        found = (await record.record(name)).arrivals
        assert 2 * BLOCK <= len(found) <= 4 * BLOCK
        assert found[-1][0] == pytest.approx(start + 6 * BLOCK - 1, abs=0.01)
        assert 0 < await link.command("TTL", keys.arrivals(*name)) <= 30 * 86400


@in_loop
async def test_instances_beyond_the_bound_are_not_recorded(
    shared: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals_module, "_MAX_SERIES", 3)
    async with link_to(shared) as link:
        record, label = ArrivalLog(link), new_id("app") + ".C"
        for i in range(10):
            record.arrived((label, f"d{i}"), 1, time.time())
        assert len(await record.records(label)) == 3


@in_loop
async def test_a_redis_that_is_away_loses_nothing_that_is_in_memory(instance: Instance) -> None:
    link = RedisLink(redis_url(instance.directory), 0.2)
    name = ("away.f", "")
    record = ArrivalLog(link)
    record.arrived(name, 1, time.time() - 2)
    await record.flush()
    instance.kill_redis()
    record.arrived(name, 1, time.time() - 1)
    await record.flush()  # says so in the log, and goes on
    record.arrived(name, 1, time.time())
    instance.start_redis()
    await record.flush()
    assert len((await record.record(name)).arrivals) == 3
    await link.close()


@in_loop
async def test_a_policy_knows_what_was_recorded_before_its_time(instance: Instance) -> None:
    """Ten minutes between inputs, for two days: the histogram makes a runner ready for the next."""
    now = time.time()
    async with link_to(instance) as link:
        record = ArrivalLog(link)
        for i in range(288):
            record.arrived(("timer.f", ""), 1, now - 600 * (288 - i) + 1)
        await record.flush()
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, [function_id] = await client.register("timer", spec("f"))
        await set_pool(client, function_id, policy="histogram")
        _, plan = await order_for(agent, function_id)
        while "histogram of" not in plan.why:
            _, plan = await order_for(agent, function_id)
        prewarm = plan.rest[0].for_s
        assert 400 < prewarm < 600 and plan.wanted(0, prewarm + 1) == 1
        # After a restart it knows it still.
        instance.kill_controller()
        instance.start_controller()
        async with FakeAgent(instance) as other:
            _, plan = await order_for(other, function_id)
            while "histogram of" not in plan.why:
                _, plan = await order_for(other, function_id)
        report = await recorded(client, "timer.f")
        assert sum(report["series"][0]["arrivals"]["count"]) == 288


@in_loop
async def test_an_input_that_is_sent_twice_arrives_once(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared):
        app_id, [function_id] = await client.register("twice", spec("f"))
        call_id = await client.submit(function_id, {0: b"x"}, last=False)
        await client.submit(function_id, {0: b"x"}, call_id=call_id)
        report = await recorded(client, "twice.f")
        assert sum(report["series"][0]["arrivals"]["count"]) == 1
        await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))  # leave nothing behind


#: By field of a series: no number, no compressed bytes, those of more than there can be, no JSON.
_DAMAGES = [
    ("n", b"1x"),
    ("b0", b"what"),
    ("b0", zlib.compress(bytes(1 << 25))),
    ("s", b"{"),
]


@pytest.mark.parametrize(("field", "damaged"), _DAMAGES)
def test_a_damaged_record_hides_no_other_is_kept_aside_and_begins_anew(
    shared: Instance, field: str, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    @in_loop
    async def test() -> None:
        async with link_to(shared) as link:
            label, now = new_id("app") + ".C", time.time()
            bad, good = (label, "bad"), (label, "good")
            first = ArrivalLog(link)
            for name in (bad, good):
                first.arrived(name, 1, now - 10)
                first.served(name, 1, 0.5)
            await first.flush()
            await link.command("HSET", keys.arrivals(*bad), field, damaged)
            second = ArrivalLog(link)
            for name in (bad, good):
                second.arrived(name, 2, now)
            await second.flush()
            counts = [sum(n for _, n in one.arrivals) for one in await second.records(label)]
            assert counts == [2, 3]
            aside = keys.set_aside(keys.arrivals(*bad))
            assert await link.command("HGET", aside, field) == damaged
            # Who only reads it does so, too.
            await link.command("HSET", keys.arrivals(*good), "b0", b"what")
            assert (await ArrivalLog(link).record(good)).arrivals == []
            await link.command("HSET", keys.arrivals(*bad), field, damaged)
            assert (await ArrivalLog(link).newest(bad, 10))[0] == []

    test()
    said = [record.getMessage() for record in caplog.records]
    assert said.count("arrivals cannot be read, and begin anew") == 3


@in_loop
async def test_a_series_that_redis_refuses_hides_no_other(shared: Instance) -> None:
    async with link_to(shared) as link:
        label, now = new_id("app") + ".C", time.time()
        record = ArrivalLog(link)
        await link.command("SET", keys.arrivals(label, "a"), "no hash")
        for digest in ("a", "b"):
            record.arrived((label, digest), 1, now)
        await record.flush()
        assert len((await record.record((label, "b"))).arrivals) == 1
