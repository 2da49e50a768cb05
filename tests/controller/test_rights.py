"""What the user of Redis may do that a controller is there: what it needs, and what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rekindle import Dict, Queue
from rekindle.exception import ServiceError
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.fake_agent import FakeAgent, echo, result_of
from tests.controller.harness import Client, Instance, in_loop, running_instance, spec
from tests.controller.refusals import refused
from tests.redis_server import denied, documented_rights, user_with

_NEEDED, _DIRECT = documented_rights()
_OF_USERS = {"acl|setuser", "acl|deluser", "acl|users"}


@contextmanager
def with_rights(*rights: str) -> Iterator[Instance]:
    """An instance whose user of Redis has these; its controller is not started."""
    with running_instance(start=False) as instance:
        instance.start_redis()
        with instance.redis_client() as server:
            url = user_with(server, instance.directory, rights)
        instance.environ["REKINDLE_REDIS_URL"] = url
        yield instance


def use_objects() -> None:
    """Use a Dict and a Queue."""
    with Dict.ephemeral() as d, Queue.ephemeral() as q:
        d.update({n: n for n in range(10)})
        assert d.pop(1) == 1 and len(d) == 9 and sorted(d.keys()) == [0, *range(2, 10)]
        q.put_many([1, 2, 3])
        assert q.get() == 1 and q.get_many(9) == [2, 3] and q.get(block=False) is None
        q.put("last", partition="other")
        q.clear(all=True)
        d.clear()


async def ask_all(client: Client, agent: FakeAgent) -> None:
    """Calls of all kinds, taken, cancelled, given up and brought back; what there is of them."""
    app_id, [function_id] = await client.register("app", spec(), source=b"modules")
    agent.answer(lambda assign: result_of(assign, b"", pb.INTERNAL))
    await client.results(await client.submit(function_id, {0: b"x", 1: b"y"}))
    agent.answer(echo)
    replayed = await client.call("Replay", pb.DeadLetterSelection(function_id=function_id))
    assert replayed.count == 2
    await client.call("Drop", pb.DeadLetterSelection(all=True))
    assert not (await client.call("DeadLetters", pb.DeadLettersRequest())).letters
    assert (await client.invoke(function_id)).data == b"x"
    call_id = await client.submit(function_id, {i: b"%d" % i for i in range(600)})
    assert len(await client.results(call_id)) == 600
    taken = pb.TakenCall(call_id=call_id, function_id=function_id, whole=True)
    await client.call("Taken", pb.TakenRequest(calls=[taken]))
    left = await client.submit(function_id, {0: b"x"}, last=False)
    await client.call("CancelCall", pb.CancelCallRequest(call_id=left))
    changes = pb.PoolChanges(max_containers=3)
    await client.call("SetPool", pb.SetPoolRequest(function="app.double", changes=changes))
    await agent.send(log=pb.LogLine(app_id=app_id, text="said", stream="stdout"))
    await asyncio.to_thread(use_objects)
    await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))


@in_loop
@pytest.mark.parametrize("direct", [False, True])
async def test_the_documented_rights_are_all_that_a_controller_needs(
    direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with with_rights(*_NEEDED, *(_DIRECT if direct else ())) as instance:
        monkeypatch.setenv("REKINDLE_DIR", str(instance.directory))
        instance.start_controller()
        async with Client(instance) as client:
            async with FakeAgent(instance, max_runners=8) as agent:
                await ask_all(client, agent)
            await client.register("kept")
            instance.kill_controller()
            instance.start_controller()
            status = await client.call("Status", pb.StatusRequest())
        assert status.redis.up and status.redis.redis_version and not status.redis.reason
        assert bool(status.objects.through_controller) != direct
        with instance.redis_client() as server:
            assert denied(server) == (set() if direct else _OF_USERS)


@in_loop
async def test_a_server_that_says_nothing_of_itself_is_up_all_the_same() -> None:
    with with_rights(*_NEEDED, "-info") as instance:
        instance.start_controller()
        async with Client(instance) as client, FakeAgent(instance) as agent:
            agent.answer(echo)
            _, [function_id] = await client.register("app", spec())
            assert (await client.invoke(function_id)).data == b"x"
            status = await client.call("Status", pb.StatusRequest())
            assert status.redis.up and not status.redis.reason
            assert not status.redis.HasField("used_memory")
            metrics = (await client.call("Metrics", pb.MetricsRequest())).text
            assert "rekindle_redis_up 1" in metrics
            assert "\nrekindle_redis_memory_bytes" not in metrics
        with instance.redis_client() as server:
            assert "info" in denied(server)


@pytest.mark.parametrize("lacks", ["resetchannels", "-script|load", "resetkeys", "-psubscribe"])
def test_a_controller_whose_user_lacks_a_right_says_so_and_does_not_start(lacks: str) -> None:
    with with_rights(*_NEEDED, lacks) as instance:
        said = instance.refused_controller()
        assert said.startswith("refused: Redis refused a command: ")
        assert "permission" in said and "docs/operating.md" in said


@in_loop
async def test_a_right_that_a_script_lacks_is_not_taken_for_damage() -> None:
    with with_rights(*_NEEDED) as instance:
        instance.start_controller()
        async with Client(instance) as client, FakeAgent(instance) as agent:
            _, [function_id] = await client.register("app", spec())
            with instance.redis_client() as server:
                server.execute_command("ACL", "SETUSER", "rekindle", "-xadd")
                error = await refused(client.submit(function_id, {0: b"x"}), ServiceError)
                assert "xadd" in str(error).lower() and "docs/operating.md" in str(error)
                assert not (await client.call("Status", pb.StatusRequest())).damaged
                server.execute_command("ACL", "SETUSER", "rekindle", "+xadd")
            agent.answer(echo)
            call_id = await client.submit(function_id, {0: b"x"})
            assert [one.data for one in await client.results(call_id)] == [b"x"]
