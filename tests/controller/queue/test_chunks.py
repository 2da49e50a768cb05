"""Many inputs travel together, and each is still completed once, by itself."""

from __future__ import annotations

from rekindle import exception
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.fake_agent import FakeAgent, done_of, echo, result_of
from tests.controller.harness import Client, Instance, in_loop, new_id, running_instance, spec
from tests.controller.refusals import refused


def together(assigns: list[pb.Assign], data: bytes = b"") -> pb.Done:
    """One message with the results of several inputs of one call, each its payload."""
    done = pb.Done()
    for assign in assigns:
        done.MergeFrom(done_of(result_of(assign, data or assign.inputs[0].payload), assign.app_id))
    done.execute_ns = 1_000_000 * len(assigns)
    return done


@in_loop
async def test_inputs_of_one_submission_reach_an_agent_in_few_orders(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=8) as agent:
        _, [function_id] = await client.register("app", spec())
        agent.answer(echo)
        call_id = await client.submit(function_id, {i: b"%d" % i for i in range(16)})
        results = await client.results(call_id)
        assert {r.index: r.data for r in results} == {i: b"%d" % i for i in range(16)}
        assert len(agent.orders) == 1
        assert [item.index for item in agent.orders[0].inputs] == list(range(16))


@in_loop
async def test_requests_that_overtook_each_other_are_handed_out_in_the_order_of_their_call(
    shared: Instance,
) -> None:
    async with Client(shared) as client:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {0: b"0", 1: b"1"}, last=False)
        await client.submit(function_id, {4: b"4", 5: b"5"}, call_id=call_id, last=False)
        await client.submit(function_id, {2: b"2", 3: b"3"}, call_id=call_id)
        async with FakeAgent(shared, max_runners=8) as agent:
            agent.answer(echo)
            await client.results(call_id)
        assert [i.index for order in agent.orders for i in order.inputs] == list(range(6))


@in_loop
async def test_an_agent_gets_many_inputs_once_they_are_known_to_be_short(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=2) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {i: b"%d" % i for i in range(2000)})
        first = [await agent.assigned.get() for _ in range(10)]
        assert agent.assigned.empty()  # nothing is known of them yet
        await agent.send(done=together(first))  # a millisecond each
        more = [await agent.assigned.get() for _ in range(501)]
        more += await agent.all_assigned()
        assert len(more) <= 1000  # half a second for each of two runners
        await agent.send(done=together(more[:10]))
        assert await agent.all_assigned() == []  # it has enough
        agent.answer(echo)
        await agent.send(done=together(more[10:]))
        assert len(await client.results(call_id)) == 2000


@in_loop
async def test_an_agent_is_told_whether_others_wait_for_its_results(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=2) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {i: b"%d" % i for i in range(25)})
        first = [await agent.assigned.get() for _ in range(10)]
        assert [order.others_wait for order in agent.orders] == [True]
        await agent.send(done=together(first))
        rest = [await agent.assigned.get() for _ in range(15)]
        assert not agent.orders[-1].others_wait
        await agent.send(done=together(rest))
        assert len(await client.results(call_id)) == 25


@in_loop
async def test_a_request_that_is_larger_than_a_chunk_is_split(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.answer(echo)
        _, [function_id] = await client.register("app", spec())
        payloads = {i: b"%d" % i for i in range(1300)}
        payloads[7] = b"7" * (5 << 20)
        call_id = await client.submit(function_id, payloads)
        results = await client.results(call_id)
        assert {r.index: r.data for r in results} == payloads


@in_loop
async def test_results_in_one_message_are_stored_acknowledged_and_sent_together(
    shared: Instance,
) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=8) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {i: b"%d" % i for i in range(10)})
        assigns = [await agent.assigned.get() for _ in range(10)]
        stream = client.call("Results", pb.ResultsRequest(call_id=call_id))
        info = await client.call("GetCall", pb.GetCallRequest(call_id=call_id))
        assert (info.inputs, info.running, info.done, info.submitted) == (10, 10, 0, True)
        await agent.send(done=together(assigns))
        batch = await stream.read()
        results = [pb.Result.FromString(raw) for raw in batch.results]
        assert sorted(r.index for r in results) == list(range(10))
        assert {r.deliveries for r in results} == {1}
        assert sorted((await agent.acks.get()).indexes) == list(range(10))


@in_loop
async def test_of_two_batches_the_first_result_of_each_input_counts(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=8) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, dict.fromkeys(range(6), b""))
        assigns = [await agent.assigned.get() for _ in range(6)]
        await agent.send(done=together(assigns[:4], b"first"))
        await agent.send(done=together(assigns, b"second"))
        results = {r.index: r.data for r in await client.results(call_id)}
        assert results == {i: b"first" if i < 4 else b"second" for i in range(6)}
        acked: list[int] = []
        while len(acked) < 10:
            acked += (await agent.acks.get()).indexes
        assert sorted(acked) == sorted([*range(4), *range(6)])


@in_loop
async def test_an_input_that_fails_leaves_its_chunk_and_is_tried_alone(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=8) as agent:
        retries = {"max_retries": 1, "initial_delay_s": 0.0}
        _, [function_id] = await client.register("app", spec(retries=retries))
        call_id = await client.submit(function_id, {i: b"%d" % i for i in range(5)})
        assigns = [await agent.assigned.get() for _ in range(5)]
        done = together([assigns[0], assigns[1]])
        bad = result_of(assigns[2], b"bad", pb.FAILURE)
        done.MergeFrom(done_of(bad, assigns[2].app_id))
        done.MergeFrom(together(assigns[3:]))
        await agent.send(done=done)
        again = await agent.assigned.get()
        assert (again.inputs[0].index, again.delivery) == (2, 2)
        await agent.done(again, b"good")
        results = {r.index: (r.data, r.deliveries) for r in await client.results(call_id)}
        assert results[2] == (b"good", 2)
        assert all(results[i] == (b"%d" % i, 1) for i in (0, 1, 3, 4))


@in_loop
async def test_only_inputs_that_had_begun_count_a_dead_runner(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=8) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {i: b"%d" % i for i in range(4)})
        for _ in range(4):
            await agent.assigned.get()
        await agent.send(
            returned=pb.InputsReturned(
                call_id=call_id, indexes=[0, 1, 2, 3], reason="signal 9", begun=[1]
            )
        )
        again = [await agent.assigned.get() for _ in range(4)]
        assert {a.inputs[0].index: a.delivery for a in again} == {0: 1, 1: 2, 2: 1, 3: 1}
        for assign in again:
            await agent.done(assign)
        assert len(await client.results(call_id)) == 4


@in_loop
async def test_a_half_done_chunk_goes_on_after_a_restart(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance, max_runners=8) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {i: b"%d" % i for i in range(20)}, last=False)
        assigns = [await agent.assigned.get() for _ in range(16)]
        await agent.send(done=together(assigns[:5]))
        await agent.acks.get()
        instance.kill_controller()
        await agent.lost_connection()
        instance.start_controller()
        info = await client.call("GetCall", pb.GetCallRequest(call_id=call_id))
        assert (info.inputs, info.done, info.submitted) == (20, 5, False)
        assert (info.app, info.function) == ("app", "double")
        # The same submission once more, since its reply may have been lost with the controller.
        await client.submit(function_id, {i: b"%d" % i for i in range(20)}, call_id=call_id)
        await agent.connect(in_flight=assigns[5:])
        await agent.send(done=together(assigns[5:]))
        agent.answer(echo)
        ran = []
        while not agent.assigned.empty():
            ran.append(agent.assigned.get_nowait())
        if ran:
            await agent.send(done=together(ran))
        results = await client.results(call_id)
        assert {r.index: r.data for r in results} == {i: b"%d" % i for i in range(20)}


@in_loop
async def test_two_agents_share_a_call(shared: Instance) -> None:
    async with (
        Client(shared) as client,
        FakeAgent(shared, max_runners=2) as one,
        FakeAgent(shared, max_runners=2) as two,
    ):
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {i: b"%d" % i for i in range(8)})
        for agent in (one, two):
            for _ in range(4):
                await agent.assigned.get()
        assert [sum(len(o.inputs) for o in a.orders) for a in (one, two)] == [4, 4]
        for agent in (one, two):
            for order in agent.orders:
                await agent.send(
                    done=together(
                        [
                            pb.Assign(call_id=call_id, function_id=function_id, inputs=[i])
                            for i in order.inputs
                        ]
                    )
                )
        assert len(await client.results(call_id)) == 8


@in_loop
async def test_a_slow_reader_costs_no_memory_and_misses_nothing(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=8) as agent:
        large = b"x" * (1 << 20)
        agent.answer(lambda assign: result_of(assign, large))
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {}, last=False)
        reader = client.reader(call_id)
        await client.submit(function_id, dict.fromkeys(range(60), b""), call_id=call_id)
        assert len(await client.results(call_id)) == 60  # all are done, and the other read nothing
        seen = set()
        for _ in range(60):
            result = await reader.read()
            assert result.data == large
            seen.add(result.index)
        assert seen == set(range(60))


@in_loop
async def test_stored_results_of_a_range_can_be_asked_for(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=8) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {i: b"%d" % i for i in range(10)}, last=False)
        assigns = [await agent.assigned.get() for _ in range(10)]
        await agent.send(done=together(assigns[:8]))
        await agent.acks.get()
        found = await client.results(call_id, stored=True, from_index=2, end_index=6, have=[3])
        assert sorted(r.index for r in found) == [2, 4, 5]
        await agent.send(done=together(assigns[8:]))


@in_loop
async def test_more_undone_inputs_than_allowed_are_refused_with_the_limit() -> None:
    with running_instance(REKINDLE_MAX_PENDING="10") as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            _, [function_id] = await client.register("app", spec())
            call_id = await client.submit(function_id, dict.fromkeys(range(8), b""), last=False)
            again = client.submit(function_id, dict.fromkeys(range(8, 12), b""), call_id=call_id)
            error = await refused(again)
            assert type(error) is exception.ResourceExhaustedError
            assert "REKINDLE_MAX_PENDING" in str(error) and "10" in str(error)
            await agent.done(await agent.assigned.get())
            await agent.done(await agent.assigned.get())
            for _ in range(2):
                await agent.acks.get()
            agent.answer(echo)
            while not agent.assigned.empty():
                await agent.done(agent.assigned.get_nowait())
            await client.submit(function_id, dict.fromkeys(range(8, 12), b""), call_id=call_id)
            assert len(await client.results(call_id)) == 12


@in_loop
async def test_more_calls_that_are_waited_for_than_allowed_are_refused() -> None:
    with running_instance(REKINDLE_MAX_WAITING="2") as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            _, [function_id] = await client.register("app", spec())
            first = new_id("fc")
            calls = [client.invoke(function_id, call_id=first), client.invoke(function_id)]
            assigns = [await agent.assigned.get() for _ in calls]
            error = await refused(client.invoke(function_id))
            assert type(error) is exception.ResourceExhaustedError
            assert "REKINDLE_MAX_WAITING" in str(error)
            calls.append(client.invoke(function_id, call_id=first))  # the same call is not new
            for assign in assigns:
                await agent.done(assign)
            assert {(await call).status for call in calls} == {pb.SUCCESS}
