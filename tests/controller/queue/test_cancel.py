"""Cancelled calls: queued inputs never start, running ones are told, and it holds for good."""

from __future__ import annotations

from rekindle import exception
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.fake_agent import FakeAgent, echo
from tests.controller.harness import Client, Instance, in_loop, new_id, running_instance, spec
from tests.controller.refusals import refused


async def cancel(client: Client, call_id: str, *, terminate: bool = False) -> pb.CancelCallReply:
    """Cancel a call."""
    request = pb.CancelCallRequest(call_id=call_id, terminate_containers=terminate)
    reply: pb.CancelCallReply = await client.call("CancelCall", request)
    return reply


@in_loop
async def test_queued_inputs_never_start_and_running_ones_are_told(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=1) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {i: b"%d" % i for i in range(20)})
        running = [await agent.assigned.get() for _ in range(9)]
        reply = await cancel(client, call_id)
        assert (reply.queued, reply.running) == (11, 9)
        told = await agent.cancels.get()
        assert (sorted(told.indexes), told.kill) == (list(range(9)), False)
        await agent.done(running[0], b"won the race")
        for assign in running[1:]:
            await agent.done(assign, b"", pb.CANCELLED)
        results = {r.index: r for r in await client.results(call_id)}
        assert (results[0].status, results[0].data) == (pb.SUCCESS, b"won the race")
        assert {results[i].status for i in range(1, 20)} == {pb.CANCELLED}
        assert agent.assigned.empty()
        info = await client.call("GetCall", pb.GetCallRequest(call_id=call_id))
        assert (info.cancelled, info.done) == (True, 20)


@in_loop
async def test_a_call_that_is_done_is_not_cancelled_by_who_comes_late(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.answer(echo)
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {0: b"done"})
        assert [r.status for r in await client.results(call_id)] == [pb.SUCCESS]
        reply = await cancel(client, call_id, terminate=True)
        assert (reply.queued, reply.running) == (0, 0)
        info = await client.call("GetCall", pb.GetCallRequest(call_id=call_id))
        assert (info.cancelled, info.done) == (False, 1)


@in_loop
async def test_inputs_that_wait_on_the_stream_are_cancelled_too() -> None:
    with running_instance(REKINDLE_HELD_INPUTS="10") as instance:
        async with Client(instance) as client, FakeAgent(instance, max_runners=1) as agent:
            _, [function_id] = await client.register("app", spec())
            other = await client.submit(function_id, {0: b"other"})
            await agent.assigned.get()
            call_id = await client.submit(function_id, {}, last=False)
            for i in range(30):
                await client.submit(function_id, {i: b""}, call_id=call_id, last=i == 29)
            reply = await cancel(client, call_id)
            assert reply.queued + reply.running == 30
            running = [agent.assigned.get_nowait() for _ in range(agent.assigned.qsize())]
            for assign in running:
                await agent.done(assign, b"", pb.CANCELLED)
            results = await client.results(call_id)
            assert {r.index for r in results} == set(range(30))
            assert {r.status for r in results} == {pb.CANCELLED}
            await agent.done(pb.Assign(call_id=other, function_id=function_id, inputs=[pb.Input()]))
            assert [r.status for r in await client.results(other)] == [pb.SUCCESS]
            agent.answer(echo)  # and the function goes on
            assert (await client.invoke(function_id, b"later")).data == b"later"


@in_loop
async def test_a_cancellation_holds_after_a_restart_and_for_inputs_that_come_later(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance, max_runners=1) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, dict.fromkeys(range(12), b""), last=False)
        running = [await agent.assigned.get() for _ in range(9)]
        await cancel(client, call_id)
        instance.kill_controller()
        await agent.lost_connection()
        instance.start_controller()
        await client.submit(function_id, {12: b"late"}, call_id=call_id)
        await agent.connect(in_flight=running)  # they are told again, or done with already
        results = await client.results(call_id)
        assert {r.index: r.status for r in results} == dict.fromkeys(range(13), pb.CANCELLED)
        assert agent.assigned.empty()


@in_loop
async def test_a_cancelled_input_is_neither_retried_nor_placed_again(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        retries = {"max_retries": 3, "initial_delay_s": 30.0}
        _, [function_id] = await client.register("app", spec(retries=retries))
        call_id = await client.submit(function_id, {0: b"", 1: b"", 2: b""})
        assigns = [await agent.assigned.get() for _ in range(3)]
        await agent.done(assigns[2], b"", pb.FAILURE)  # waits for its retry now
        await agent.acks.get()
        reply = await cancel(client, call_id, terminate=True)
        assert (reply.queued, reply.running) == (1, 2)
        assert (await agent.cancels.get()).kill
        await agent.done(assigns[0], b"", pb.FAILURE)
        await agent.send(
            returned=pb.InputsReturned(call_id=call_id, indexes=[1], reason="killed", begun=[1])
        )
        results = {r.index: r.status for r in await client.results(call_id)}
        assert results == {0: pb.FAILURE, 1: pb.CANCELLED, 2: pb.CANCELLED}
        assert agent.assigned.empty()


@in_loop
async def test_a_call_whose_caller_hung_up_for_good_is_cancelled() -> None:
    with running_instance(REKINDLE_CALLER_GRACE_S="0.3") as instance:
        async with Client(instance) as client, FakeAgent(instance, max_runners=1) as agent:
            _, [function_id] = await client.register("app", spec())
            back = new_id("fc")
            for call_id in (new_id("fc"), back):
                call = client.invoke(function_id, call_id=call_id)
                await agent.assigned.get()
                call.cancel()
            again = client.invoke(function_id, call_id=back)  # this one comes back in time
            told = await agent.cancels.get()
            assert told.call_id != back
            await agent.done(
                pb.Assign(call_id=back, function_id=function_id, inputs=[pb.Input()]), b"still"
            )
            assert (await again).data == b"still"
            assert agent.cancels.empty()


@in_loop
async def test_a_call_that_nobody_waits_for_after_a_restart_is_cancelled() -> None:
    with running_instance(REKINDLE_CALLER_GRACE_S="0.5") as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            _, [function_id] = await client.register("app", spec())
            call = client.invoke(function_id)
            assign = await agent.assigned.get()
            instance.kill_controller()
            await agent.lost_connection()
            call.cancel()
            instance.start_controller()
            await agent.connect(in_flight=[assign])
            assert (await agent.cancels.get()).call_id == assign.call_id


@in_loop
async def test_a_call_that_is_not_known_cannot_be_cancelled_or_looked_at(shared: Instance) -> None:
    async with Client(shared) as client:
        call_id = new_id("fc")
        error = await refused(cancel(client, call_id))
        assert isinstance(error, exception.NotFoundError)
        error = await refused(client.call("GetCall", pb.GetCallRequest(call_id=call_id)))
        assert isinstance(error, exception.NotFoundError)
