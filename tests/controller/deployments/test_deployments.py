"""Deployed apps through a real controller and a real Redis, with an agent that the test plays."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from rekindle import exception
from rekindle.controller.deployments.records import KEPT_VERSIONS
from rekindle.controller.instance import instance_id
from rekindle.controller.storage import keys
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.errors import from_rpc_error
from tests.controller.deployments.deployer import Deployer, by_function
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Instance, in_loop, new_id, running_instance


@in_loop
async def test_the_same_content_is_no_new_version(shared: Instance) -> None:
    async with Deployer(shared) as client:
        first = await client.deploy("a", "same", app_id="ap-first-of-them", tag="one")
        assert (first.app.version, first.unchanged) == (1, False)
        again = await client.deploy("a", "same", tag="two")
        assert (again.app.version, again.unchanged) == (1, True)
        assert again.app.app_id == "ap-first-of-them"
        assert again.app.versions[0].tag == "two"
        # The reply was lost: the very same request is no other one.
        sent_again = await client.deploy("a", "same", app_id="ap-first-of-them")
        assert (sent_again.app.version, sent_again.unchanged) == (1, False)
        other = await client.deploy("b", "same")
        assert (other.app.version, other.unchanged) == (2, False)


@in_loop
async def test_calls_go_to_the_present_version_whichever_id_they_name(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("a")
        former = await client.find()
        assert (await client.send(former)).data == former.encode()
        await client.deploy("b")
        present = await client.find()
        assert present != former
        assert (await client.send(former)).data == present.encode()
        await client.until_ended()
        assert (await client.send(former)).data == present.encode()
        # That one alone: its version is opened again for it.
        assert await client.find(version=1) == former
        assert (await client.send(former, pinned=True)).data == former.encode()


@in_loop
async def test_a_former_version_ends_what_it_has(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        await client.deploy("a")
        former = await client.find()
        waits = client.send(former, call_id=(call_id := new_id("fc")))
        begun = await agent.assigned.get()
        await client.deploy("b")
        assert (await client.app()).draining == [begun.app_id]
        again = client.send(former, call_id=call_id)  # its connection broke: no second run
        instance.kill_controller()
        instance.start_controller()
        await agent.lost_connection()
        await agent.connect([begun])
        third = client.send(former, call_id=call_id)
        await agent.done(begun, b"done by the former")
        assert (await third).data == b"done by the former"
        for ended in await asyncio.gather(waits, again, return_exceptions=True):
            if not isinstance(ended, grpc.aio.AioRpcError):  # its connection broke
                assert ended.data == b"done by the former"
        found = await client.until_ended()
        assert found.version == 2
        assert await agent.all_assigned() == []


@in_loop
async def test_a_former_version_ends_though_redis_refused_to_say_what_it_has(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance):
        await client.deploy("a")
        count = keys.undone(await client.find())
        with instance.redis_client() as server:
            server.rpush(count, "no number")
            await client.deploy("b")
            await instance.until_logged("a version does not end yet")
            server.delete(count)
        await client.until_ended()


@in_loop
async def test_a_version_or_an_app_is_closed_though_redis_refused_a_command_of_it(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance):
        await client.deploy("a")
        app_id, _ = await client.register("other")
        close = pb.CloseAppRequest(app_id=app_id)
        names = keys.closed_apps(instance_id(instance.directory))
        with instance.redis_client() as server:
            server.rpush(names, "no hash")
            await client.deploy("b")
            await instance.until_logged("a version does not end yet")
            with pytest.raises(exception.ServiceError, match="WRONGTYPE"):
                await refused(client.call("CloseApp", close))
            server.delete(names)
        await client.until_ended()
        await client.call("CloseApp", close)
        report = await client.call("Status", pb.StatusRequest())
        assert [one.version for one in report.apps] == [2]


@in_loop
async def test_an_app_that_cannot_be_stopped_for_now_runs_on_and_its_user_is_told_why() -> None:
    with running_instance(REKINDLE_REDIS_PATIENCE_S="0.5") as instance:
        async with Deployer(instance) as client, FakeAgent(instance):
            await client.deploy("a")
            stop = pb.StopAppRequest(app="app")
            with instance.redis_client() as server:
                server.config_set("min-replicas-to-write", 1)  # as with a full disk: no writes
                with pytest.raises(exception.ServiceError, match="NOREPLICAS"):
                    await refused(client.call("StopApp", stop))
                server.config_set("min-replicas-to-write", 0)
            assert not (await client.app()).stopped
            await client.deploy("b")
            await client.call("StopApp", stop)
            assert (await client.app()).stopped


@in_loop
@pytest.mark.parametrize("strategy", ["rolling", "recreate"])
async def test_a_version_is_deployed_once_no_agent_lends_the_former(
    shared: Instance, strategy: str
) -> None:
    name = f"retires-{strategy}"
    async with Deployer(shared) as client, FakeAgent(shared) as agent:
        agent.confirms_retiring = False
        former = (await client.deploy("a", name)).app.app_id
        made = asyncio.ensure_future(client.deploy("b", name, strategy=strategy))
        retire = await agent.retires.get()
        assert retire.app_id == former
        assert (await client.app(name)).version == 2 and not made.done()
        await agent.send(retired=pb.AppRetired(request_id=retire.request_id))
        assert (await made).app.version == 2


@in_loop
async def test_a_version_is_deployed_though_an_agent_is_lost_meanwhile(shared: Instance) -> None:
    async with Deployer(shared) as client, FakeAgent(shared) as agent:
        agent.confirms_retiring = False
        await client.deploy("a", "lost")
        made = asyncio.ensure_future(client.deploy("b", "lost"))
        await agent.retires.get()
        await agent.disconnect()
        assert (await made).app.version == 2


@in_loop
async def test_an_agent_that_was_away_at_a_switch_hears_of_it_when_it_is_back(
    shared: Instance,
) -> None:
    async with Deployer(shared) as client, FakeAgent(shared) as agent:
        former = (await client.deploy("a", "away")).app.app_id
        calls = asyncio.ensure_future(client.send(await client.find(app="away")))
        begun = await agent.assigned.get()
        await agent.disconnect()
        present = (await client.deploy("b", "away", strategy="recreate")).app.app_id
        await agent.connect([begun])
        while (await agent.retires.get()).app_id != former:
            pass
        while await agent.lives.get() != present:
            pass
        await agent.done(begun)
        await calls


@in_loop
async def test_recreate_has_the_new_code_run_what_was_running(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        await client.deploy("a")
        former = await client.find()
        waits = asyncio.ensure_future(client.send(former))
        begun = await agent.assigned.get()
        await client.deploy("b", strategy="recreate")
        await agent.closes.get()
        await agent.send(returned=pb.InputsReturned(call_id=begun.call_id, indexes=[0]))
        again = await agent.assigned.get()
        assert again.function_id == former
        fetched = await client.gateway.FetchFunction(
            pb.FetchFunctionRequest(function_id=former), metadata=client.metadata
        )
        assert (fetched.function.code, fetched.retired) == (b"b", True)
        await agent.done(again, b"by the new")
        assert (await waits).data == b"by the new"
        await client.until_ended()
        # The former version still is what it was.
        await client.call("Rollback", pb.RollbackRequest(app="app", app_id=new_id("ap")))
        fetched = await client.gateway.FetchFunction(
            pb.FetchFunctionRequest(function_id=await client.find()), metadata=client.metadata
        )
        assert fetched.function.code == b"a"


@in_loop
async def test_a_controller_that_is_killed_goes_on_to_have_new_code_run_what_was_running(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.confirms_closing = False
        former_id = (await client.deploy("a")).app.app_id
        former = await client.find()
        call_id = await client.submit(former, {0: b"x"})
        begun = await agent.assigned.get()
        await client.deploy("b", strategy="recreate")
        assert await agent.closes.get() == former_id  # and before it has done so
        instance.kill_controller()
        instance.start_controller()
        await agent.lost_connection()
        agent.confirms_closing = True
        await agent.connect([begun])
        assert await agent.closes.get() == former_id
        await agent.send(returned=pb.InputsReturned(call_id=begun.call_id, indexes=[0]))
        again = await agent.assigned.get()
        fetched = await client.gateway.FetchFunction(
            pb.FetchFunctionRequest(function_id=again.function_id), metadata=client.metadata
        )
        assert fetched.function.code == b"b"
        with instance.redis_client() as server:
            while not server.hexists(keys.app(former_id), "recreated"):
                await asyncio.sleep(0.02)  # it gives no event
        assert agent.recreates == [former_id] * 2
        # What runs by the new code is not stopped by the next restart.
        instance.kill_controller()
        instance.start_controller()
        await agent.lost_connection()
        await agent.connect([again])
        await agent.done(again, b"by the new")
        assert (await client.results(call_id))[0].data == b"by the new"
        await client.until_ended()
        # Nor is what is called by the number of its version.
        pinned = asyncio.ensure_future(client.send(former, pinned=True))
        begun = await agent.assigned.get()
        instance.kill_controller()
        instance.start_controller()
        await agent.lost_connection()
        await asyncio.gather(pinned, return_exceptions=True)  # its connection broke
        await agent.connect([begun])
        await agent.done(begun, b"by its own")
        await client.until_ended()
        assert agent.recreates == [former_id] * 2


@in_loop
async def test_recreate_stops_what_runs_on_an_agent_that_was_away(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        former = (await client.deploy("a")).app.app_id
        call_id = await client.submit(await client.find(), {0: b"x"})
        begun = await agent.assigned.get()
        await agent.disconnect()
        await instance.until_logged("agent's connection ended")
        await client.deploy("b", strategy="recreate")
        await agent.connect([begun])
        assert await agent.closes.get() == former and agent.recreates == [former]
        await agent.send(returned=pb.InputsReturned(call_id=call_id, indexes=[0]))
        again = await agent.assigned.get()
        await agent.done(again, b"by the new")
        assert (await client.results(call_id))[0].data == b"by the new"
        await client.until_ended()


@in_loop
async def test_a_version_is_rolled_back_to_while_its_inputs_run_by_newer_code(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        await client.deploy("a")
        former = await client.find()
        waits = asyncio.ensure_future(client.send(former))
        begun = await agent.assigned.get()
        await client.deploy("b", strategy="recreate")
        await agent.closes.get()
        await agent.send(returned=pb.InputsReturned(call_id=begun.call_id, indexes=[0]))
        again = await agent.assigned.get()
        # That one runs newer code soon, too; the first keeps to what it was given, secrets as well.
        also = asyncio.ensure_future(client.send(await client.find()))
        newer = await agent.assigned.get()
        await client.deploy("c", strategy="recreate")
        secrets = await client.gateway.FetchSecrets(
            pb.FetchFunctionRequest(function_id=former), metadata=client.metadata
        )
        assert secrets.values == {"OF": "b"}
        await client.call("Rollback", _rollback(version=1))
        for function_id, code in ((former, b"b"), (await client.find(), b"a")):
            fetched = await client.gateway.FetchFunction(
                pb.FetchFunctionRequest(function_id=function_id), metadata=client.metadata
            )
            assert fetched.function.code == code
        for assign, call in ((again, waits), (newer, also)):
            await agent.done(assign, b"by the new")
            assert (await call).data == b"by the new"


@in_loop
async def test_versions_are_rolled_back_to_and_a_stopped_app_comes_back(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        for code in "abc":
            await client.deploy(code)
        for expected in (2, 1):  # once more goes further back
            request = pb.RollbackRequest(app="app", app_id=new_id("ap"))
            reply = await client.call("Rollback", request)
            assert reply.app.versions[0].rolled_back_to == expected
        assert reply.app.version == 5
        with pytest.raises(exception.NotFoundError, match="no version 9; the newest is 5"):
            await refused(client.call("Rollback", _rollback(version=9)))
        function_id = await client.find()
        waits = asyncio.ensure_future(client.send(function_id))
        await waits
        await client.call("StopApp", pb.StopAppRequest(app="app"))
        with pytest.raises(exception.ExecutionError, match="'app' is stopped"):
            await refused(client.send(function_id))
        with pytest.raises(exception.ExecutionError, match="'app' is stopped"):
            await refused(client.find())
        instance.kill_controller()
        instance.start_controller()
        await agent.lost_connection()
        await agent.connect()
        assert (await client.app()).stopped
        reply = await client.call("Rollback", _rollback())
        assert (reply.app.version, reply.app.versions[0].rolled_back_to) == (6, 5)
        assert (await client.send(function_id)).data == (await client.find()).encode()


def _rollback(**more: Any) -> pb.RollbackRequest:
    return pb.RollbackRequest(app="app", app_id=new_id("ap"), **more)


@in_loop
async def test_the_newest_versions_are_kept(instance: Instance) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("0")
        first = await client.find()
        for number in range(1, KEPT_VERSIONS + 1):
            await client.deploy(str(number))
            await client.until_ended()
        versions = (await client.app()).versions
        assert [one.kept for one in versions] == [True] * KEPT_VERSIONS + [False]
        with pytest.raises(exception.InvalidError, match="version 1 of 'app' is not kept"):
            await refused(client.find(version=1))
        with pytest.raises(exception.NotFoundError, match="not kept any more"):
            await refused(client.send(first, pinned=True))
        # Who knows its id alone calls the present version.
        assert (await client.send(first)).data == (await client.find()).encode()


@in_loop
async def test_a_version_that_a_killed_controller_was_to_let_go_is_let_go_by_the_next_one(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("0")
        function = keys.function(await client.find())
        for number in range(1, KEPT_VERSIONS + 1):
            await client.deploy(str(number))
            await client.until_ended()
        app = keys.app((await client.app()).versions[-1].app_id)
        with instance.redis_client() as server:
            while server.ttl(app) < 0 or server.hexists(function, "secrets"):
                await asyncio.sleep(0.02)  # it gives no event
            # As it is where the controller is killed before it has done that.
            server.persist(app)
            server.hset(function, "secrets", "sealed")
            instance.kill_controller()
            instance.start_controller()
            while server.ttl(app) < 0 or server.hexists(function, "secrets"):
                await asyncio.sleep(0.02)  # it gives no event


@in_loop
async def test_an_app_stays_deployed_when_a_variant_of_its_function_is_made(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("a")
        former = await client.find()
        variant = await client.variant(former)
        assert (await client.send(variant)).data == variant.encode()
        instance.kill_controller()
        instance.start_controller()
        await agent.lost_connection()
        await agent.connect()
        await client.deploy("b")
        await client.until_ended()
        assert (await client.send(former)).data == (await client.find()).encode()


@in_loop
async def test_a_new_key_seals_what_a_variant_declares_whose_app_is_put_away(
    instance: Instance,
) -> None:
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        agent.answer(by_function)
        await client.deploy("a")
        given = {"replaces_secrets": True, "secrets": {"S": "value"}}
        variant = await client.variant(await client.find(), **given)
        await client.deploy("b")
        await client.until_ended()
        await client.call("RotateSecretKey", pb.RotateSecretKeyRequest())
        key = instance.directory / "secrets.key"
        key.write_text(key.read_text().splitlines()[0])  # without those that were
        assert (await client.send(variant, pinned=True)).data == variant.encode()
        reply = await client.gateway.FetchSecrets(
            pb.FetchFunctionRequest(function_id=variant), metadata=client.metadata
        )
        assert reply.values == {"S": "value"}


@in_loop
async def test_a_version_that_ends_when_it_is_not_kept_any_more_is_forgotten(
    instance: Instance,
) -> None:
    stored = instance.redis_client()
    async with Deployer(instance) as client, FakeAgent(instance) as agent:
        waits, begun, variants = [], [], []
        for number in range(2):
            await client.deploy(str(number))
            waits.append(client.send(await client.find()))
            begun.append(await agent.assigned.get())
            variants.append(await client.variant(begun[-1].function_id))
        for number in range(2, KEPT_VERSIONS + 2):
            await client.deploy(str(number))
        assert [one.kept for one in (await client.app()).versions][-2:] == [False, False]

        async def ended(number: int) -> None:
            await agent.done(begun[number], b"in the end")
            assert (await waits[number]).data == b"in the end"
            while stored.ttl(keys.app(begun[number].app_id)) < 0:  # the last of it
                await asyncio.sleep(0.02)  # it gives no event
            for function_id in (begun[number].function_id, variants[number]):
                key = keys.function(function_id)
                assert not stored.hexists(key, "code") and not stored.hexists(key, "secrets")
                assert stored.hexists(key, "app") and stored.ttl(key) > 0  # whose it was

        await ended(0)
        instance.kill_controller()
        instance.start_controller()
        await agent.lost_connection()
        await agent.connect([begun[1]])
        call_id = begun[1].call_id
        waits[1] = client.send(begun[1].function_id, call_id=call_id)
        await ended(1)


@in_loop
async def test_an_unknown_name_is_refused_with_the_nearest(shared: Instance) -> None:
    async with Deployer(shared) as client:
        await client.deploy("a", "service", functions=("answer", "other"))
        with pytest.raises(exception.NotFoundError, match="did you mean 'answer'"):
            await refused(client.find("anwser", "service"))
        with pytest.raises(exception.NotFoundError, match="did you mean 'service'"):
            await refused(client.find("answer", "servce"))
        # What the next version does not have any more.
        former = await client.find("other", "service")
        await client.deploy("b", "service", functions=("answer",))
        with pytest.raises(exception.NotFoundError, match=r"version 2 .* no function 'other'"):
            await refused(client.send(former))
        with pytest.raises(exception.InvalidError, match="no deployment strategy 'blue'"):
            await refused(client.deploy("c", "service", strategy="blue"))


async def refused(call: Any) -> None:
    """Await; rekindle's own exception in place of gRPC's."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None


@in_loop
async def test_tags_that_were_set_are_those_of_the_present_version(shared: Instance) -> None:
    async with Deployer(shared) as client:
        await client.deploy("a", "tagged")
        tags = {"team": "ads"}
        request = pb.SetTagsRequest(app="tagged", tags=tags)
        assert dict((await client.call("SetTags", request)).tags) == tags
        assert dict((await client.app("tagged")).tags) == tags
        # What declares these has nothing new; what declares others has.
        assert (await client.deploy("a", "tagged", tags=tags)).unchanged
        assert not (await client.deploy("a", "tagged")).unchanged
        assert dict((await client.app("tagged")).tags) == {}
        with pytest.raises(grpc.RpcError, match="no-such"):
            await client.call("SetTags", pb.SetTagsRequest(app="no-such", tags=tags))


@in_loop
async def test_nothing_is_left_of_a_version_that_could_not_be_stored(instance: Instance) -> None:
    stored = instance.redis_client()
    async with Deployer(instance) as client, FakeAgent(instance):
        first = (await client.deploy("a")).app.app_id
        (at,) = stored.keys(keys.deployments("*"))
        kept = stored.dump(at)
        stored.set(at, "no hash, so that Redis refuses to write to it")
        with pytest.raises(grpc.aio.AioRpcError):
            await client.deploy("b")
        stored.restore(at, 0, kept, replace=True)
        status = await client.call("Status", pb.StatusRequest())
        assert [one.app_id for one in status.apps] == [first]
        assert (await client.app()).version == 1
        assert (await client.deploy("b")).app.version == 2
