"""Deployed apps through a real controller and a real Redis, with an agent that the test plays."""

from __future__ import annotations

import grpc
import pytest

from rekindle import exception
from rekindle.controller.storage import keys
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.deployments.deployer import Deployer, by_function
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Instance, in_loop, running_instance
from tests.controller.refusals import refused


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
async def test_an_app_that_cannot_be_stopped_for_now_runs_on_and_its_user_is_told_why() -> None:
    with running_instance(REKINDLE_REDIS_PATIENCE_S="0.5") as instance:
        async with Deployer(instance) as client, FakeAgent(instance):
            await client.deploy("a")
            stop = pb.StopAppRequest(app="app")
            with instance.redis_client() as server:
                server.config_set("min-replicas-to-write", 1)  # as with a full disk: no writes
                await refused(client.call("StopApp", stop), exception.ServiceError, "NOREPLICAS")
                server.config_set("min-replicas-to-write", 0)
            assert not (await client.app()).stopped
            await client.deploy("b")
            await client.call("StopApp", stop)
            assert (await client.app()).stopped


@in_loop
async def test_an_unknown_name_is_refused_with_the_nearest(shared: Instance) -> None:
    async with Deployer(shared) as client:
        await client.deploy("a", "service", functions=("answer", "other"))
        await refused(
            client.find("anwser", "service"), exception.NotFoundError, "did you mean 'answer'"
        )
        await refused(
            client.find("answer", "servce"), exception.NotFoundError, "did you mean 'service'"
        )
        await client.variant(await client.find("answer", "service"))  # ``answer[...]``
        await refused(
            client.find("else", "service"),
            exception.NotFoundError,
            r"known are 'answer', 'other'$",
        )
        # What the next version does not have any more.
        former = await client.find("other", "service")
        await client.deploy("b", "service", functions=("answer",))
        await refused(
            client.send(former), exception.NotFoundError, r"version 2 .* no function 'other'"
        )
        await refused(
            client.deploy("c", "service", strategy="blue"),
            exception.InvalidError,
            "no deployment strategy 'blue'",
        )


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
