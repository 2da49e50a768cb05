"""What an operator sees of Dicts and Queues, of a real instance."""

from __future__ import annotations

import threading

import pytest

from rekindle import Dict, Queue
from rekindle.cli import operator
from rekindle.controller.objects import census
from rekindle.sdk.connection.client import client_for
from rekindle.sdk.objects import exchange
from rekindle.wire import object_keys
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.harness import Instance, in_loop
from tests.controller.in_process import running_parts
from tests.e2e.harness import wait_until


def seen(instance: Instance, object_id: str) -> pb.ObjectStatus:
    """One of them, as it is now."""

    def found() -> pb.ObjectStatus | None:
        report = operator.report(client_for(instance.directory), pools=False)
        return next((one for one in report.objects.objects if one.object_id == object_id), None)

    # A busy machine may take its time for that.
    one: pb.ObjectStatus = wait_until(found, "it is described")
    return one


def test_what_is_in_objects_and_was_done_with_them_is_shown(
    shared: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_COUNT_AT", 1)  # told at once, not within a second
    d = Dict.from_name("census.dict", create_if_missing=True)
    q = Queue.from_name("census.queue", create_if_missing=True)
    d.update(dict.fromkeys(range(300), "x" * 100))
    d["a"] = 1
    assert d["a"] == 1 and d.get("none") is None and d.pop("a") == 1
    assert len(dict(d.items())) == 300
    wait_until(lambda: seen(shared, d.object_id).operations["scan"] == 300, "all was told")
    one = seen(shared, d.object_id)
    assert (one.kind, one.name, one.environment) == ("dict", "census.dict", "main")
    assert one.count == 300 and one.size_bytes > 30_000 and not one.waiting
    assert dict(one.operations) == {"put": 301, "get": 2, "pop": 1, "scan": 300}
    # More partitions than one script looks at.
    for number in range(1005):
        q.put("12345", partition=f"p{number}")
    q.put_many(["x"] * 20)
    assert q.get_many(5) == ["x"] * 5
    got: list[object] = []
    waiting = threading.Thread(target=lambda: got.append(q.get(partition="empty", timeout=60)))
    waiting.start()
    wait_until(lambda: seen(shared, q.object_id).waiting == 1, "somebody is seen to wait")
    one = seen(shared, q.object_id)
    assert one.count == 1020 and one.partitions == 1006 and one.size_bytes > 1005 * 5
    q.put("woken", partition="empty")
    waiting.join(60)
    assert got == ["woken"]
    wait_until(lambda: not seen(shared, q.object_id).waiting, "no one is")
    assert dict(seen(shared, q.object_id).operations) == {"put": 1026, "get": 6}


def test_the_metrics_have_them_by_name(shared: Instance) -> None:
    d = Dict.from_name("census.metrics", create_if_missing=True)
    d["a"] = 1
    seen(shared, d.object_id)  # what was counted a moment ago had not got it yet
    client = client_for(shared.directory)
    reply = operator.request(client, "Metrics", pb.MetricsRequest(), pb.MetricsReply)
    labels = 'environment="main",kind="dict",name="census.metrics"'
    assert f"rekindle_object_items{{{labels}}} 1.0" in reply.text
    assert 'rekindle_object_operations_total{environment="main",kind="dict"' in reply.text
    assert "rekindle_objects_direct 1.0" in reply.text


@in_loop
async def test_what_was_deleted_as_it_was_counted_is_not_told_of_as_damaged(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone) as parts:
        await parts.objects.start()
        catalog, counts = parts.objects.catalog, parts.objects.census
        one = await catalog.create("dict", "main", "bad", "a test", keep=False)
        with redis_alone.redis_client() as server:
            server.set(object_keys.dict_entries(one.object_id), "what")
        commands = list(census._questions(one))
        replies = await parts.link.commands(commands, harmless=census._OF_ONE)
        await counts._described(one, replies)
        assert [found.kind for found in parts.damage.messages()] == ["content"]
        await catalog.delete(one)
        await counts._described(one, replies)
        assert not list(parts.damage.messages())
        await parts.objects.stop()
