"""Apps through a real controller: registered, opened on agents, held, closed."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from rekindle import exception
from rekindle.controller.storage.embedded_redis import find_server
from rekindle.runtime.node_checks import check_redis
from rekindle.sdk.local.directory import note_taken_down, prepare
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.errors import from_rpc_error
from rekindle.wire.messages import as_dict, spec_of
from rekindle.wire.version import PROTOCOL
from tests.controller.fake_agent import FakeAgent, echo
from tests.controller.harness import Client, Instance, in_loop, new_id, running_instance, spec


async def status_of(client: Client) -> dict[str, object]:
    """The controller's status."""
    found: dict[str, object] = as_dict(await client.call("Status", pb.StatusRequest()))
    return found


@in_loop
async def test_registering_twice_gives_the_same_ids(shared: Instance) -> None:
    async with Client(shared) as client:
        app_id, first = await client.register("app", spec("one"), spec("two"))
        _, second = await client.register("app", spec("one"), spec("two"), app_id=app_id)
        assert first == second
        assert first[0] == f"fu-{spec('one').revision()}-{app_id[-8:]}"


@in_loop
async def test_an_agent_fetches_code_secrets_and_source(shared: Instance) -> None:
    async with Client(shared) as client:
        app_id, [function_id] = await client.register("app", spec("f"), source=b"the zip")
        reply = await client.gateway.FetchFunction(
            pb.FetchFunctionRequest(function_id=function_id), metadata=client.metadata
        )
        assert reply.app_id == app_id
        assert spec_of(reply.function.spec) == spec("f")
        assert reply.function.code == b"code of f"
        assert dict(reply.function.secrets) == {"KEY": "value"}
        assert (reply.source.digest, reply.source.data) == ("d1", b"the zip")


@in_loop
async def test_a_spec_without_names_is_refused(shared: Instance) -> None:
    async with Client(shared) as client:
        for nameless in (None, pb.FunctionSpec(name="f"), pb.FunctionSpec(app_name="a")):
            request = pb.RegisterAppRequest(
                app_id=new_id("ap"), functions=[pb.FunctionDef(spec=nameless)]
            )
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await client.call("RegisterApp", request)
            assert isinstance(from_rpc_error(caught.value), exception.InvalidError)


@in_loop
async def test_functions_are_opened_on_an_agent_and_again_when_it_comes_back(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, ids = await client.register("app", spec("one", min_containers=1), spec("two"))
        assert {await agent.opens.get(), await agent.opens.get()} == set(ids)
        await agent.disconnect()
        await agent.connect()
        assert {await agent.opens.get(), await agent.opens.get()} == set(ids)
        instance.kill_controller()
        await agent.lost_connection()
        instance.start_controller()
        await agent.connect()
        assert {await agent.opens.get(), await agent.opens.get()} == set(ids)


@in_loop
async def test_functions_move_to_another_agent_when_theirs_is_lost(impatient: Instance) -> None:
    async with Client(impatient) as client, FakeAgent(impatient) as first:
        _, [function_id] = await client.register("app", spec(min_containers=1))
        await first.opens.get()
        async with FakeAgent(impatient) as second:
            await first.disconnect()
            assert await second.opens.get() == function_id


@in_loop
async def test_closing_cancels_queued_and_running_inputs_and_stops_runners(
    shared: Instance,
) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=1) as agent:
        app_id, [function_id] = await client.register("app", spec())
        invoked = client.invoke(function_id)
        await agent.assigned.get()
        call_id = await client.submit(function_id, dict.fromkeys(range(40), b""))
        stream = asyncio.create_task(client.results(call_id))
        await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        assert await agent.closes.get() == app_id
        assert (await invoked).status == pb.CANCELLED
        results = await stream
        assert {r.status for r in results} == {pb.CANCELLED}
        assert len(results) == 40
        assert len(await client.results(call_id)) == 40  # kept
        info = await client.call("GetCall", pb.GetCallRequest(call_id=call_id))
        assert info.cancelled and info.done == 40
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.invoke(function_id)
        assert isinstance(from_rpc_error(caught.value), exception.ExecutionError)
        await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))  # once more is fine


@in_loop
async def test_closing_cancels_inputs_that_wait_on_the_stream() -> None:
    with running_instance(REKINDLE_HELD_INPUTS="5") as instance:
        async with Client(instance) as client:
            app_id, [function_id] = await client.register("app", spec())
            call_id = await client.submit(function_id, dict.fromkeys(range(600), b""))
            await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
            results = await client.results(call_id)
            assert len(results) == 600
            assert {r.status for r in results} == {pb.CANCELLED}


@in_loop
async def test_closing_ends_the_results_of_a_call_that_never_got_its_last_input(
    shared: Instance,
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.answer(echo)
        app_id, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {0: b"a"}, last=False)
        stream = client.reader(call_id)
        assert (await stream.read()).index == 0
        await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        assert await stream.read() is grpc.aio.EOF


@in_loop
async def test_closing_waits_for_exit_hooks_and_keeps_their_output(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.confirms_closing = False
        app_id, _ = await client.register("app", spec())
        logs = client.call("Logs", pb.LogsRequest(app_id=app_id, follow=True))
        closing = asyncio.ensure_future(client.call("CloseApp", pb.CloseAppRequest(app_id=app_id)))
        await agent.closes.get()
        await agent.send(log=pb.LogLine(app_id=app_id, stream="stdout", text="bye"))
        assert (await logs.read()).text == "bye"
        assert not closing.done()
        await agent.closed(app_id)
        await closing
        assert await logs.read() is grpc.aio.EOF


@in_loop
async def test_closing_goes_on_when_the_program_that_asked_for_it_is_gone(
    shared: Instance,
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.confirms_closing = False
        app_id, _ = await client.register("app", spec())
        logs = client.call("Logs", pb.LogsRequest(app_id=app_id, follow=True))
        closing = client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        await agent.closes.get()
        closing.cancel()
        # Answered on the same connection after the controller has heard of that.
        await client.call("Hello", pb.HelloRequest(protocol=PROTOCOL))
        await agent.closed(app_id)
        assert await logs.read() is grpc.aio.EOF
        await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await client.call("Lookup", pb.LookupRequest(app_id=app_id, name="double"))
        assert isinstance(from_rpc_error(refused.value), exception.NotFoundError)


@in_loop
async def test_closing_does_not_hang_on_an_agent_that_is_stuck() -> None:
    with running_instance(REKINDLE_CLOSE_GRACE_S="0.3") as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            agent.confirms_closing = False
            app_id, _ = await client.register("app", spec())
            await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
            assert await agent.closes.get() == app_id


@in_loop
async def test_an_app_that_nobody_holds_any_more_is_closed(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, [function_id] = await client.register("app", spec(), ephemeral=True)
        hold = client.call("HoldApp", pb.HoldAppRequest(app_id=app_id))
        assert (await hold.read()).message == "held"
        call = client.invoke(function_id)
        await agent.assigned.get()
        hold.cancel()  # the client was killed
        assert await agent.closes.get() == app_id
        assert (await call).status == pb.CANCELLED


@in_loop
async def test_an_app_that_is_held_again_in_time_stays_open() -> None:
    with running_instance(REKINDLE_HOLD_GRACE_S="600") as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            agent.answer(echo)
            app_id, [function_id] = await client.register("app", spec(), ephemeral=True)
            for _ in range(2):
                hold = client.call("HoldApp", pb.HoldAppRequest(app_id=app_id))
                assert (await hold.read()).message == "held"
                hold.cancel()
            assert (await client.invoke(function_id)).status == pb.SUCCESS


@in_loop
async def test_a_held_app_hears_that_it_is_closed(shared: Instance) -> None:
    async with Client(shared) as client:
        app_id, _ = await client.register("app", spec(), ephemeral=True)
        hold = client.call("HoldApp", pb.HoldAppRequest(app_id=app_id))
        assert (await hold.read()).message == "held"
        await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        assert (await hold.read()).message == "closed"
        assert await hold.read() is grpc.aio.EOF


@in_loop
async def test_an_ephemeral_app_whose_client_died_with_the_controller_is_closed(
    instance: Instance,
) -> None:
    async with Client(instance) as client:
        app_id, [function_id] = await client.register("app", spec(), ephemeral=True)
        hold = client.call("HoldApp", pb.HoldAppRequest(app_id=app_id))
        await hold.read()
        call_id = await client.submit(function_id, {0: b""})
        instance.kill_controller()
        instance.start_controller()
        [result] = await client.results(call_id)
        assert result.status == pb.CANCELLED


@in_loop
async def test_what_a_program_ran_ends_as_it_is_taken_down_and_what_outlives_one_stays() -> None:
    with running_instance(REKINDLE_HOLD_GRACE_S="600") as instance:
        async with Client(instance) as client:
            of_program, [function_id] = await client.register("run", spec(), ephemeral=True)
            call_id = await client.submit(function_id, {0: b""})
            detached = pb.RegisterAppRequest(
                app_id=new_id("ap"), name="detached", ephemeral=True, detached=True
            )
            await client.call("RegisterApp", detached)
            await client.register("kept", spec())
        # The controller may have been killed, and Redis away, as it was taken down.
        instance.kill_controller()
        note_taken_down(instance.directory)
        prepare(instance.directory)  # as the next `rekindle up` does
        instance.start_controller()
        async with Client(instance) as client, FakeAgent(instance) as agent:
            [result] = await client.results(call_id)
            assert result.status == pb.CANCELLED
            assert agent.assigned.empty()
            await client.call("CloseApp", pb.CloseAppRequest(app_id=of_program))
            apps = (await status_of(client))["apps"]
            assert {app["name"] for app in apps} == {"detached", "kept"}  # type: ignore[attr-defined]
            _, [function_id] = await client.register("next", spec(), ephemeral=True)
        instance.kill_controller()  # its clients come back
        instance.start_controller()
        async with Client(instance) as client, FakeAgent(instance) as agent:
            agent.answer(echo)
            assert (await client.invoke(function_id)).status == pb.SUCCESS


@in_loop
async def test_runners_of_an_app_that_is_gone_are_stopped_when_a_heartbeat_tells(
    shared: Instance,
) -> None:
    async with FakeAgent(shared) as agent:
        runner = pb.RunnerStats(id="ru-1", function_id="fu-1", app_id="ap-gone")
        await agent.send(heartbeat=pb.Heartbeat(stats=pb.NodeStats(runners=[runner])))
        assert await agent.closes.get() == "ap-gone"


@in_loop
async def test_an_unknown_app_names_the_nearest(shared: Instance) -> None:
    async with Client(shared) as client:
        app_id, _ = await client.register("app", spec())
        hold = client.call("HoldApp", pb.HoldAppRequest(app_id=app_id[:-1] + "_"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await hold.read()
        error = from_rpc_error(caught.value)
        assert isinstance(error, exception.NotFoundError)
        assert app_id in str(error)


@in_loop
async def test_prepare_is_answered_by_an_agent(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("app", spec())
        for ok, reason in ((True, ""), (False, "no CRIU")):
            call = client.call(
                "Prepare",
                pb.PrepareRequest(function_id=function_id, strategy="restore", timeout_s=30),
            )
            asked = await agent.prepares.get()
            assert (asked.function_id, asked.strategy) == (function_id, "restore")
            await agent.send(
                prepared=pb.PrepareDone(request_id=asked.request_id, ok=ok, reason=reason)
            )
            reply = await call
            assert (reply.ok, reply.reason) == (ok, reason)


@in_loop
async def test_prepare_waits_for_an_agent_and_no_longer_than_asked(instance: Instance) -> None:
    async with Client(instance) as client:
        _, [function_id] = await client.register("app", spec())
        request = pb.PrepareRequest(function_id=function_id, strategy="fork", timeout_s=0.1)
        reply = await client.call("Prepare", request)
        assert not reply.ok
        assert "no agent is connected" in reply.reason
        request.timeout_s = 60
        call = client.call("Prepare", request)
        async with FakeAgent(instance) as agent:
            asked = await agent.prepares.get()
            await agent.send(prepared=pb.PrepareDone(request_id=asked.request_id, ok=True))
            assert (await call).ok


@in_loop
async def test_status_shows_apps_queues_agents_and_redis(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance, max_runners=1) as agent:
        _, [function_id] = await client.register("shown", spec())
        await client.submit(function_id, dict.fromkeys(range(30), b""))
        await agent.assigned.get()
        await agent.send(heartbeat=pb.Heartbeat(stats=pb.NodeStats(pid=7)))
        await agent.send(log=pb.LogLine(app_id="ap-none", text="x"))
        while (status := await status_of(client))["agents"][0]["stats"] == {}:  # type: ignore[index]
            pass
        [app] = status["apps"]  # type: ignore[misc]
        [function] = app["functions"]
        assert app["name"] == "shown"
        assert function["undone"] == 30
        assert function["in_flight"] + function["queued"] == 30
        [shown] = status["agents"]  # type: ignore[misc]
        assert shown["stats"]["pid"] == 7
        assert shown["connected"]
        assert status["redis"]["aof_enabled"] == 1  # type: ignore[index]
        of_binary = check_redis(find_server).detail
        assert of_binary.startswith(f"{status['redis']['redis_version']} (")  # type: ignore[index]


@in_loop
async def test_functions_are_opened_again_on_an_agent_whose_older_connection_still_stands(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as older:
        _, ids = await client.register("app", spec("one", min_containers=1), spec("two"))
        assert {await older.opens.get(), await older.opens.get()} == set(ids)
        reader = older._reader
        async with FakeAgent(instance, older.hello.agent_id) as agent:
            assert {await agent.opens.get(), await agent.opens.get()} == set(ids)
            assert older.opens.empty()
            assert reader is not None
            await reader  # the older one is ended
