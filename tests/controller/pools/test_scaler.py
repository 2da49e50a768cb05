"""Plans, settings and records of a real controller, with agents that the test plays."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import as_dict, option_messages
from rekindle.wire.pools import SPARES, Level
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import PATIENCE_S, Client, Instance, in_loop, running_instance
from tests.controller.pools.agents import beat, order_for, plan_for, set_pool, spec, until


@in_loop
async def test_an_agent_is_sent_what_a_function_declares(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register(
            "declared",
            spec(min_containers=1, max_containers=3, buffer_containers=2, scaledown_window_s=9),
        )
        order, plan = await order_for(agent, function_id)
        assert order.every_instance
        assert (plan.runners, plan.max_runners, plan.buffer, plan.keep_s) == (1, 3, 2, 9)
        assert plan.base is Level.SPARE, "a template that is there stays, and its spares"
        assert (plan.spares, plan.ahead) == (SPARES, False)


@in_loop
async def test_an_agent_that_joins_later_gets_all_plans(shared: Instance) -> None:
    async with Client(shared) as client:
        _, [function_id] = await client.register("later", spec(min_containers=1))
        async with FakeAgent(shared) as agent:
            assert (await plan_for(agent, function_id)).runners == 1


@in_loop
async def test_a_setting_is_followed_at_once_and_the_others_stay(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("set", spec(scaledown_window_s=9))
        await plan_for(agent, function_id)
        report = await set_pool(client, function_id, min_containers=2, max_containers=4)
        plan = await plan_for(agent, function_id)
        assert (plan.runners, plan.max_runners, plan.keep_s) == (2, 4, 9)
        assert report["min_containers"] == 2 and report["scaledown_window"] == 9
        await set_pool(client, function_id, max_containers=0)
        plan = await plan_for(agent, function_id)
        assert (plan.runners, plan.max_runners) == (2, None)
        report = await set_pool(client, function_id, reset=True)
        assert (await plan_for(agent, function_id)).runners == 0
        assert report["changed"] == {}


@in_loop
async def test_a_number_of_spares_is_followed_and_can_be_left_to_the_policy_again(
    shared: Instance,
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("spares", spec(spare_containers=2))
        plan = await plan_for(agent, function_id)
        assert (plan.spares, plan.ahead, plan.base) == (2, True, Level.SPARE)
        report = await set_pool(client, function_id, spare_containers=0)
        plan = await plan_for(agent, function_id)
        assert (plan.spares, plan.base) == (0, Level.BOOTED)
        assert report["spare_containers"] == 0
        report = await set_pool(client, function_id, spare_containers=-1)
        plan = await plan_for(agent, function_id)
        assert (plan.spares, plan.ahead) == (SPARES, False)
        assert report["spare_containers"] is None and report["changed"] == {"spare_containers": -1}


@in_loop
async def test_no_node_is_asked_for_more_spares_than_it_may_have_runners(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=4) as agent:
        _, [function_id] = await client.register("cut", spec(spare_containers=1_000_000))
        assert (await plan_for(agent, function_id)).spares == 4
        status = await client.call("Status", pb.StatusRequest())
        functions = [one for app in status.apps for one in app.functions]
        [shown] = [one for one in functions if one.function_id == function_id]
        assert [held.plan.spares for held in shown.pool.pools] == [4]
        report = await set_pool(client, function_id, spare_containers=5)
        assert report["notes"][0].startswith("spare 5 is cut to 4 on a node")
        assert not (await set_pool(client, function_id, max_containers=3))["notes"]
        assert (await plan_for(agent, function_id)).spares == 3


@in_loop
async def test_a_setting_of_one_instance_is_not_that_of_others(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("cls", spec("C", kind="cls"))
        await plan_for(agent, function_id)
        await set_pool(client, function_id, params=b"one", min_containers=3)
        order, plan = await order_for(agent, function_id)
        while order.params != b"one" or not plan.runners:
            order, plan = await order_for(agent, function_id)
        assert plan.runners == 3 and not order.every_instance
        await set_pool(client, function_id, params=b"two", scaledown_window_s=5)
        order, plan = await order_for(agent, function_id)
        while order.params != b"two" or plan.keep_s != 5:
            order, plan = await order_for(agent, function_id)
        assert plan.runners == 0


@in_loop
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"min_containers": 5, "max_containers": 2}, "must not be more than max_containers=2"),
        ({"min_containers": -1}, "min_containers=-1"),
        ({"spare_containers": -2}, "spare_containers=-2"),
        ({"scaledown_window_s": 1.0}, "from 2 to 3600"),
        ({"policy": "histogramm"}, "histogram"),
        ({"policy": "fixed", "policy_options": option_messages({"kep_s": 3})}, "keep_s"),
        ({"policy": "fixed", "policy_options": option_messages({"keep_s": "x"})}, "is a number"),
        ({"policy_options": option_messages({"keep_s": 3})}, "need the policy"),
    ],
)
async def test_a_setting_that_cannot_be_is_refused_and_changes_nothing(
    shared: Instance, given: dict[str, Any], said: str
) -> None:
    async with Client(shared) as client:
        _, [function_id] = await client.register("refused", spec())
        with pytest.raises(grpc.aio.AioRpcError, match=said):
            await set_pool(client, function_id, **given)
        report = await set_pool(client, function_id, buffer_containers=1)
        assert report["changed"] == {"buffer_containers": 1}


@in_loop
async def test_a_function_that_is_not_running_is_named_with_the_nearest(shared: Instance) -> None:
    async with Client(shared) as client:
        await client.register("nearby", spec("embed"))
        with pytest.raises(grpc.aio.AioRpcError, match=r"did you mean .*nearby\.embed"):
            await client.call("SetPool", pb.SetPoolRequest(function="nearby.embedd"))


@in_loop
async def test_settings_and_plans_survive_a_restart_of_the_controller(instance: Instance) -> None:
    async with Client(instance) as client:
        _, [function_id] = await client.register("kept", spec())
        await set_pool(
            client,
            function_id,
            min_containers=2,
            policy="fixed",
            policy_options=option_messages({"keep_s": 33}),
        )
        instance.kill_controller()
        instance.start_controller()
        async with FakeAgent(instance) as agent:
            plan = await plan_for(agent, function_id)
            assert (plan.runners, plan.keep_s) == (2, 33)
        report = await set_pool(client, function_id, buffer_containers=1)
        assert report["policy"] == "fixed" and report["min_containers"] == 2


@in_loop
async def test_another_policy_takes_effect_and_a_new_registration_forgets_it(
    shared: Instance,
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, [function_id] = await client.register("again", spec(scaledown_window_s=60))
        assert (await plan_for(agent, function_id)).keep_s == 60
        await set_pool(
            client, function_id, policy="fixed", policy_options=option_messages({"keep_s": 3})
        )
        plan = await plan_for(agent, function_id)
        assert plan.keep_s == 3 and plan.base is Level.NONE
        await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        _, [second] = await client.register("again", spec(scaledown_window_s=60))
        assert second != function_id
        assert (await plan_for(agent, second)).keep_s == 60


def test_the_default_policy_is_that_of_the_instance() -> None:
    with running_instance(REKINDLE_POOL_POLICY="snapshot-aware") as instance:

        @in_loop
        async def look() -> None:
            async with Client(instance) as client, FakeAgent(instance) as agent:
                _, [function_id] = await client.register("default", spec())
                assert "idle runners are kept" not in (await plan_for(agent, function_id)).why
                report = await set_pool(client, function_id, buffer_containers=1)
                assert report["policy"] == "snapshot-aware"

        look()


@in_loop
async def test_max_containers_is_shared_among_agents(instance: Instance) -> None:
    async with (
        Client(instance) as client,
        FakeAgent(instance, max_runners=2) as one,
        FakeAgent(instance, max_runners=2) as two,
    ):
        _, [function_id] = await client.register("shared", spec(min_containers=3, max_containers=3))
        plans = [await plan_for(agent, function_id) for agent in (one, two)]
        assert sorted((plan.runners, plan.max_runners) for plan in plans) == [(1, 1), (2, 2)]


@in_loop
async def test_an_agent_without_a_share_gets_no_inputs(instance: Instance) -> None:
    async with (
        Client(instance) as client,
        FakeAgent(instance, max_runners=4) as one,
        FakeAgent(instance, max_runners=4) as two,
    ):
        _, [function_id] = await client.register("alone", spec(max_containers=1))
        plans = {agent: await plan_for(agent, function_id) for agent in (one, two)}
        [home] = [agent for agent, plan in plans.items() if plan.max_runners == 1]
        other = two if home is one else one
        await client.submit(function_id, dict.fromkeys(range(20), b"x"))
        async with asyncio.timeout(PATIENCE_S):
            await home.assigned.get()
        assert other.assigned.empty()


@in_loop
async def test_min_containers_move_to_another_agent_when_theirs_is_gone(
    impatient: Instance,
) -> None:
    async with Client(impatient) as client, FakeAgent(impatient) as one:
        _, [function_id] = await client.register("moves", spec(min_containers=2))
        assert (await plan_for(one, function_id)).runners == 2
        async with FakeAgent(impatient) as two:
            assert (await plan_for(two, function_id)).runners == 0
            await one.disconnect()
            assert (await plan_for(two, function_id)).runners == 2


@in_loop
async def test_the_status_tells_settings_plans_and_costs(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("told", spec(min_containers=1))
        await plan_for(agent, function_id)
        await beat(agent, held=[pb.HeldPool(function_id=function_id, idle=1, level="warm")])

        async def told() -> dict[str, Any] | None:
            report = as_dict(await client.call("Status", pb.StatusRequest()))
            [function] = [
                f for app in report["apps"] for f in app["functions"] if app["name"] == "told"
            ]
            pool: dict[str, Any] = function["pool"]
            return pool if pool["pools"][0]["idle"] else None

        pool = await until(told)
        assert pool["policy"] == "declared" and pool["min_containers"] == 1
        assert pool["pools"][0]["agents"][0]["level"] == "warm"
