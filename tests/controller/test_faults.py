"""What is killed loses nothing: agents, the controller, Redis, each with calls in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rekindle.controller.storage import keys
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import as_dict
from tests.controller.fake_agent import FakeAgent, echo
from tests.controller.harness import Client, Instance, in_loop, new_id, running_instance, spec
from tests.controller.processes import process


async def ask_status(client: Client) -> dict[str, object]:
    """The controller's status."""
    status: dict[str, object] = as_dict(await client.call("Status", pb.StatusRequest()))
    return status


@asynccontextmanager
async def given_to_another(
    instance: Instance, slow: FakeAgent, assign: pb.Assign
) -> AsyncIterator[tuple[FakeAgent, pb.Assign]]:
    """An agent is away for too long: another one has its input, as it is back with that."""
    async with FakeAgent(instance) as second:
        await slow.disconnect()
        again = await second.assigned.get()
        await slow.connect(in_flight=[assign])
        yield second, again


# ---- agents


@in_loop
async def test_inputs_of_a_dead_agent_go_to_another_at_once() -> None:
    # The grace time is long: it is the death of the process that is noticed.
    with running_instance(REKINDLE_AGENT_GRACE_S="600") as instance, process() as victim:
        async with Client(instance) as client, FakeAgent(instance, pid=victim.pid) as first:
            _, [function_id] = await client.register("app", spec())
            call = client.invoke(function_id)
            assign = await first.assigned.get()
            async with FakeAgent(instance) as second:
                victim.kill()
                victim.wait()
                await first.disconnect()
                again = await second.assigned.get()
                assert (again.call_id, again.delivery) == (assign.call_id, 2)
                await second.done(again, b"saved")
                assert (await call).data == b"saved"


@in_loop
async def test_inputs_of_an_agent_that_stays_away_go_to_another(impatient: Instance) -> None:
    async with Client(impatient) as client, FakeAgent(impatient) as first:
        _, [function_id] = await client.register("app", spec())
        call = client.invoke(function_id)
        await first.assigned.get()
        async with FakeAgent(impatient) as second:
            await first.disconnect()
            again = await second.assigned.get()
            assert again.delivery == 2
            await second.done(again)
            assert (await call).status == pb.SUCCESS


@in_loop
async def test_an_agent_that_comes_back_keeps_its_inputs(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent, FakeAgent(instance) as two:
        _, [function_id] = await client.register("app", spec())
        call = client.invoke(function_id)
        holder, other = agent, two
        done, _ = await asyncio.wait(
            [asyncio.ensure_future(one.assigned.get()) for one in (agent, two)],
            return_when=asyncio.FIRST_COMPLETED,
        )
        assign = done.pop().result()
        if (await ask_status(client))["agents"][0]["in_flight"] == 0:  # type: ignore[index]
            holder, other = two, agent
        await holder.disconnect()
        await holder.connect(in_flight=[assign])
        await holder.done(assign, b"mine")
        result = await call
        assert (result.data, result.deliveries) == (b"mine", 1)
        assert other.assigned.empty()


@in_loop
async def test_an_assignment_that_never_arrived_is_sent_again(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, [function_id] = await client.register("app", spec())
        call = client.invoke(function_id)
        await agent.assigned.get()
        await agent.disconnect()
        await agent.connect()  # knows nothing of the input
        again = await agent.assigned.get()
        assert again.delivery == 1  # nothing ran, so nothing was lost
        await agent.done(again)
        assert (await call).status == pb.SUCCESS


@in_loop
async def test_an_input_that_kills_its_agent_again_and_again_is_given_up(
    instance: Instance,
) -> None:
    async with Client(instance) as client:
        _, [function_id] = await client.register("app", spec())
        call = client.invoke(function_id)
        for number in range(1, 6):
            with process() as victim:
                async with FakeAgent(instance, pid=victim.pid) as agent:
                    assert (await agent.assigned.get()).delivery == number
                    victim.kill()
                    victim.wait()
        result = await call
        assert result.status == pb.RUNNER_LOST
        assert "5 times" in result.message


@in_loop
async def test_the_result_of_an_agent_that_was_given_up_counts_when_first(
    impatient: Instance,
) -> None:
    async with Client(impatient) as client, FakeAgent(impatient) as slow:
        _, [function_id] = await client.register("app", spec())
        call = client.invoke(function_id)
        assign = await slow.assigned.get()
        async with given_to_another(impatient, slow, assign) as (second, again):
            cancel = await slow.cancels.get()  # another has it now
            assert cancel.call_id == assign.call_id
            await slow.done(assign, b"slow but first")
            assert (await call).data == b"slow but first"
            stop = await second.cancels.get()
            assert stop.call_id == again.call_id
            await second.done(again, b"second")
            await second.acks.get()
        assert (await client.invoke(function_id, call_id=assign.call_id)).data == b"slow but first"


@in_loop
async def test_what_an_agent_gives_back_that_another_has_by_now_is_not_placed_again(
    impatient: Instance,
) -> None:
    async with Client(impatient) as client, FakeAgent(impatient) as slow:
        _, [function_id] = await client.register("app", spec())
        call = client.invoke(function_id)
        assign = await slow.assigned.get()
        async with given_to_another(impatient, slow, assign) as (second, again):
            await slow.cancels.get()
            returned = pb.InputsReturned(
                call_id=assign.call_id, indexes=[0], reason="killed", begun=[0]
            )
            await slow.send(returned=returned)
            assign.call_id = new_id("fc")  # of nobody: it is acknowledged when it has come
            await slow.done(assign)
            await slow.acks.get()
            await second.done(again, b"second")
            result = await call
            assert (result.data, result.deliveries) == (b"second", 2)
            assert slow.assigned.empty() and second.assigned.empty()


@in_loop
async def test_a_silent_agent_is_given_up() -> None:
    with running_instance(REKINDLE_AGENT_SILENCE_S="0.5") as instance:
        async with Client(instance) as client, FakeAgent(instance) as hung:
            _, [function_id] = await client.register("app", spec())
            await hung.send(heartbeat=pb.Heartbeat())
            call = client.invoke(function_id)
            await hung.assigned.get()
            await hung.lost_connection()
            async with FakeAgent(instance) as second:
                await second.done(await second.assigned.get())
                assert (await call).status == pb.SUCCESS


# ---- the controller


@in_loop
async def test_a_killed_controller_comes_back_with_queue_results_and_code(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance, max_runners=1) as agent:
        app_id, [function_id] = await client.register("app", spec(), source=b"zip")
        call_id = await client.submit(function_id, {i: b"%d" % i for i in range(30)})
        held = [await agent.assigned.get() for _ in range(9)]
        await agent.done(held[0], b"before")
        await agent.acks.get()
        instance.kill_controller()
        await agent.lost_connection()
        instance.start_controller()
        await agent.connect(in_flight=held[1:])
        for assign in held[1:]:
            await agent.done(assign, assign.inputs[0].payload)
        agent.answer(echo)
        for _ in range(agent.assigned.qsize()):
            assign = agent.assigned.get_nowait()
            await agent.done(assign, assign.inputs[0].payload)
        results = {r.index: r for r in await client.results(call_id)}
        assert sorted(results) == list(range(30))
        assert results[0].data == b"before"
        assert {i: r.data for i, r in results.items() if i and r.data != b"%d" % i} == {}
        assert {r.index: r.deliveries for r in results.values() if r.deliveries != 1} == {}
        fetched = await client.gateway.FetchFunction(
            pb.FetchFunctionRequest(function_id=function_id), metadata=client.metadata
        )
        assert fetched.app_id == app_id
        assert fetched.function.code == b"code of double"
        assert fetched.function.secrets["KEY"] == "value"
        assert fetched.source.data == b"zip"


@in_loop
async def test_inputs_that_nobody_had_run_after_a_restart_of_the_controller(
    instance: Instance,
) -> None:
    async with Client(instance) as client:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {i: b"%d" % i for i in range(20)})
        instance.kill_controller()
        instance.start_controller()
        async with FakeAgent(instance) as agent:
            order: list[int] = []

            def answer(assign: pb.Assign) -> pb.Result:
                order.append(assign.inputs[0].index)
                return echo(assign)

            agent.answer(answer)
            results = await client.results(call_id)
            assert {r.index: r.data for r in results} == {i: b"%d" % i for i in range(20)}
            assert sorted(order) == list(range(20))


@in_loop
async def test_controller_and_agent_killed_together_lose_nothing(instance: Instance) -> None:
    with process() as victim:
        async with Client(instance) as client, FakeAgent(instance, pid=victim.pid) as agent:
            _, [function_id] = await client.register("app", spec())
            call_id = await client.submit(function_id, {0: b"a", 1: b"b"})
            await agent.assigned.get()
            victim.kill()
            victim.wait()
            instance.kill_controller()
            instance.start_controller()
            async with FakeAgent(instance) as fresh:
                fresh.answer(echo)
                assert {r.data for r in await client.results(call_id)} == {b"a", b"b"}


@in_loop
async def test_an_invoke_is_sent_again_after_a_restart_and_gets_its_result(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = new_id("fc")
        call = client.invoke(function_id, call_id=call_id)
        assign = await agent.assigned.get()
        instance.kill_controller()
        with pytest.raises(Exception):  # noqa: B017 - whatever gRPC makes of the broken connection
            await call
        await agent.lost_connection()
        instance.start_controller()
        again = client.invoke(function_id, call_id=call_id)
        await agent.connect(in_flight=[assign])
        await agent.done(assign, b"kept")
        assert (await again).data == b"kept"
        assert agent.assigned.empty()


@in_loop
async def test_a_delayed_retry_survives_a_restart_of_the_controller(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        retries = {"max_retries": 1, "initial_delay_s": 1.0}
        _, [function_id] = await client.register("app", spec(retries=retries))
        call_id = await client.submit(function_id, {0: b"a"})
        assign = await agent.assigned.get()
        failed = time.monotonic()
        await agent.done(assign, b"", pb.FAILURE)
        await agent.acks.get()
        instance.kill_controller()
        await agent.lost_connection()
        instance.start_controller()
        await agent.connect()
        assign = await agent.assigned.get()
        assert time.monotonic() - failed > 0.9
        assert assign.delivery == 2
        await agent.done(assign, b"at last", pb.FAILURE)  # its one retry is used up
        [result] = await client.results(call_id)
        assert (result.status, result.data) == (pb.FAILURE, b"at last")


@in_loop
async def test_a_delayed_retry_does_not_wait_for_a_clock_that_was_set_back(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        retries = {"max_retries": 1, "initial_delay_s": 60.0}
        _, [function_id] = await client.register("app", spec(retries=retries))
        call_id = await client.submit(function_id, {0: b"a"})
        assign = await agent.assigned.get()
        await agent.done(assign, b"", pb.FAILURE)
        await agent.acks.get()
        instance.kill_controller()
        await agent.lost_connection()
        with instance.redis_client() as redis:
            key = keys.call(function_id, call_id)
            lost, retried, ambiguous, due_ms = redis.hget(key, "p0").decode().split(":")
            redis.hset(key, "p0", f"{lost}:{retried}:{ambiguous}:{int(due_ms) + 3_600_000}")
        instance.start_controller()
        await agent.connect()
        assign = await agent.assigned.get()
        assert assign.delivery == 2
        await agent.done(assign, b"at last")
        [result] = await client.results(call_id)
        assert result.data == b"at last"


@in_loop
async def test_lost_deliveries_are_counted_over_a_restart(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {0: b"a"})
        for number in (1, 2, 3, 4):
            assign = await agent.assigned.get()
            assert assign.delivery == number
            back = pb.InputsReturned(call_id=call_id, indexes=[0], reason="died", begun=[0])
            await agent.send(returned=back)
        held = await agent.assigned.get()
        instance.kill_controller()
        await agent.lost_connection()
        instance.start_controller()
        await agent.connect(in_flight=[held])
        await agent.send(
            returned=pb.InputsReturned(call_id=call_id, indexes=[0], reason="died", begun=[0])
        )
        [result] = await client.results(call_id)
        assert (result.status, result.deliveries) == (pb.RUNNER_LOST, 5)


@in_loop
async def test_a_controller_ends_cleanly_on_sigterm(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {0: b"a"})
        assign = await agent.assigned.get()
        assert instance.end_controller() == 0
        assert "event=ended" in instance.log()
        await agent.lost_connection()
        instance.start_controller()
        await agent.connect(in_flight=[assign])
        await agent.done(assign, b"after")
        assert [r.data for r in await client.results(call_id)] == [b"after"]
