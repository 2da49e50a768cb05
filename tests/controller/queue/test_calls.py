"""Calls through a real controller: accepted once, answered, streamed, refused."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from rekindle import exception
from rekindle.controller.storage.records import CallMeta
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.damaged import queued_anew
from tests.controller.fake_agent import FakeAgent, done_of, echo, result_of
from tests.controller.harness import Client, Instance, in_loop, new_id, running_instance, spec
from tests.controller.in_process import of_one_input, registered, running_parts
from tests.controller.refusals import refused


@in_loop
async def test_invoke_runs_on_an_agent_and_returns_its_result(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, [function_id] = await client.register("app", spec())
        call = client.invoke(function_id, b"payload", strategy="fork")
        assign = await agent.assigned.get()
        assert assign.inputs[0].payload == b"payload"
        assert (assign.function_id, assign.app_id) == (function_id, app_id)
        assert (assign.strategy, assign.delivery) == ("fork", 1)
        await agent.done(assign, b"answer")
        result = await call
        assert (result.status, result.data, result.deliveries) == (pb.SUCCESS, b"answer", 1)
        assert result.function_id == function_id
        ack = await agent.acks.get()
        assert (ack.call_id, list(ack.indexes)) == (assign.call_id, [0])


@in_loop
async def test_the_same_call_twice_is_enqueued_once(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = new_id("fc")
        calls = [client.invoke(function_id, call_id=call_id) for _ in range(3)]
        assign = await agent.assigned.get()
        await agent.done(assign, b"once")
        assert {(await call).data for call in calls} == {b"once"}
        late = await client.invoke(function_id, call_id=call_id)
        assert late.data == b"once"
        assert agent.assigned.empty()


@in_loop
async def test_a_submission_twice_is_enqueued_once(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {0: b"a", 1: b"b"}, last=False)
        await client.submit(function_id, {1: b"b", 2: b"c"}, call_id=call_id)
        agent.answer(echo)
        for _ in range(agent.assigned.qsize()):
            await agent.done(agent.assigned.get_nowait(), b"early")
        results = await client.results(call_id)
        assert sorted(result.index for result in results) == [0, 1, 2]
        assert all(result.deliveries == 1 for result in results)


@in_loop
async def test_the_first_result_wins(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = new_id("fc")
        call = client.invoke(function_id, call_id=call_id)
        assign = await agent.assigned.get()
        await agent.done(assign, b"first")
        assert (await call).data == b"first"
        await agent.acks.get()
        await agent.done(assign, b"second")
        await agent.acks.get()  # acknowledged too, so that the agent forgets it
        assert (await client.invoke(function_id, call_id=call_id)).data == b"first"


@in_loop
async def test_results_come_from_the_store_and_live_each_once(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {0: b"0", 1: b"1"}, last=False)
        await agent.done(await agent.assigned.get(), b"r0")
        await agent.acks.get()
        stream = client.reader(call_id)
        first = await stream.read()
        assert (first.index, first.data) == (0, b"r0")
        await agent.done(await agent.assigned.get(), b"r1")
        assert (await stream.read()).data == b"r1"
        await client.submit(function_id, {2: b"2"}, call_id=call_id)
        await agent.done(await agent.assigned.get(), b"r2")
        assert (await stream.read()).data == b"r2"
        assert await stream.read() is grpc.aio.EOF


@in_loop
async def test_a_results_stream_resumes_where_it_broke(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.answer(echo)
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {i: str(i).encode() for i in range(40)})
        stream = client.reader(call_id)
        seen = [(await stream.read()).index for _ in range(7)]
        stream.cancel()
        rest = await client.results(call_id, have=seen)
        assert sorted([*seen, *(result.index for result in rest)]) == list(range(40))
        tail = await client.results(call_id, from_index=35)
        assert sorted(result.index for result in tail) == [35, 36, 37, 38, 39]
        assert all(result.data == str(result.index).encode() for result in rest)


@in_loop
async def test_a_reader_misses_nothing_that_is_done_as_it_comes(redis_alone: Instance) -> None:
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        request = of_one_input(function)
        request.last = False
        await parts.intake.submit(function, request)
        await parts.canceller.call(request.call_id, terminate=False)
        call_meta = parts.results._calls.call_meta

        async def then_goes_on(*args: str) -> CallMeta | None:
            parts.results._calls.call_meta = call_meta  # type: ignore[method-assign]
            found = await call_meta(*args)
            request.inputs[0].index, request.last = 1, True
            await parts.intake.submit(function, request)
            await parts.core.tasks.finish()
            return found

        parts.results._calls.call_meta = then_goes_on  # type: ignore[method-assign]
        async with asyncio.timeout(30):
            stream = parts.results.stream(pb.ResultsRequest(call_id=request.call_id))
            assert sum([len(page) async for page in stream]) == 2


@in_loop
async def test_a_stream_ends_when_an_empty_last_submission_closes_the_call(
    shared: Instance,
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        agent.answer(echo)
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {0: b"a"}, last=False)
        stream = client.reader(call_id)
        assert (await stream.read()).index == 0
        await client.submit(function_id, {}, call_id=call_id)
        assert await stream.read() is grpc.aio.EOF
        assert [r.index for r in await client.results(call_id)] == [0]


@in_loop
async def test_inputs_wait_for_an_agent(shared: Instance) -> None:
    async with Client(shared) as client:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {0: b"a"})
        async with FakeAgent(shared, "ag-late") as agent:
            agent.answer(echo)
            assert [r.data for r in await client.results(call_id)] == [b"a"]


@in_loop
async def test_more_inputs_than_memory_may_hold_wait_on_the_stream_in_order() -> None:
    with running_instance(REKINDLE_HELD_INPUTS="10") as instance:
        async with Client(instance) as client, FakeAgent(instance, max_runners=1) as agent:
            _, [function_id] = await client.register("app", spec())
            payloads = {i: b"%d" % i for i in range(100)}
            call_id = await client.submit(function_id, payloads)
            order: list[int] = []

            def answer(assign: pb.Assign) -> pb.Result:
                order.append(assign.inputs[0].index)
                return echo(assign)

            agent.answer(answer)
            for _ in range(agent.assigned.qsize()):
                assign = agent.assigned.get_nowait()
                await agent.done(assign, assign.inputs[0].payload)
            results = await client.results(call_id)
            assert {r.index: r.data for r in results} == payloads
            assert order == sorted(order)


@in_loop
async def test_an_unknown_function_names_the_nearest(shared: Instance) -> None:
    async with Client(shared) as client:
        _, [function_id] = await client.register("near", spec())
        error = await refused(client.invoke(function_id[:-1] + "_"))
        assert isinstance(error, exception.NotFoundError)
        assert function_id in str(error) and "did you mean" in str(error)


@in_loop
async def test_lookup_finds_a_function_by_name_or_names_the_nearest(shared: Instance) -> None:
    async with Client(shared) as client:
        app_id, [function_id] = await client.register("app", spec("Embedder"))
        found = await client.call("Lookup", pb.LookupRequest(app_id=app_id, name="Embedder"))
        assert found.function_id == function_id
        error = await refused(
            client.call("Lookup", pb.LookupRequest(app_id=app_id, name="Embeder"))
        )
        assert isinstance(error, exception.NotFoundError)
        assert "did you mean 'Embedder'" in str(error)


@in_loop
async def test_a_call_that_is_not_known_is_not_found(shared: Instance) -> None:
    async with Client(shared) as client:
        stream = client.reader(new_id("fc"))
        error = await refused(stream.read())
        assert isinstance(error, exception.NotFoundError)


@in_loop
async def test_bad_requests_are_refused(shared: Instance) -> None:
    async with Client(shared) as client:
        _, [function_id] = await client.register("app", spec())
        two = [pb.Input(index=0), pb.Input(index=1)]
        requests = [
            pb.SubmitRequest(call_id=new_id("fc"), function_id=function_id, inputs=two),
            pb.SubmitRequest(call_id="fc-{x}", function_id=function_id, inputs=two[:1]),
            pb.SubmitRequest(
                call_id=new_id("fc"), function_id=function_id, inputs=two[:1], strategy="frok"
            ),
            pb.SubmitRequest(
                call_id=new_id("fc"), function_id=function_id, inputs=[pb.Input(index=-1)]
            ),
        ]
        for request in requests:
            error = await refused(client.call("Invoke", request))
            assert isinstance(error, exception.InvalidError)


@in_loop
async def test_a_payload_over_the_limit_is_refused_with_the_limit() -> None:
    with running_instance(REKINDLE_MAX_PAYLOAD_BYTES="1000") as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            _, [function_id] = await client.register("app", spec())
            error = await refused(client.invoke(function_id, b"x" * 1001))
            assert isinstance(error, exception.RequestSizeError)
            assert "REKINDLE_MAX_PAYLOAD_BYTES" in str(error) and "1000" in str(error)
            call = client.invoke(function_id, b"x" * 1000)
            await agent.done(await agent.assigned.get(), b"y" * 1001)
            result = await call
            assert result.status == pb.FAILURE
            assert result.error_type == "rekindle.exception.RequestSizeError"
            assert result.data == b""


@in_loop
async def test_a_large_payload_arrives_whole(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("app", spec())
        payload = b"0123456789abcdef" * (768 * 1024)  # 12 MiB, beyond every default limit
        call = client.invoke(function_id, payload)
        assign = await agent.assigned.get()
        await agent.done(assign, assign.inputs[0].payload)
        assert (await call).data == payload


@in_loop
async def test_failed_inputs_are_retried_as_declared(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        retries = {"max_retries": 2, "initial_delay_s": 0.0}
        _, [function_id] = await client.register("app", spec(retries=retries))
        call = client.invoke(function_id)
        statuses = [pb.FAILURE, pb.TIMEOUT, pb.FAILURE]
        for number, status in enumerate(statuses, start=1):
            assign = await agent.assigned.get()
            assert assign.delivery == number
            await agent.done(assign, b"%d" % number, status)
        result = await call
        assert (result.status, result.data, result.deliveries) == (pb.FAILURE, b"3", 3)


@in_loop
async def test_failures_without_retries_are_returned_at_once(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("app", spec())
        agent.answer(lambda assign: result_of(assign, b"", pb.FAILURE, "no"))
        result = await client.invoke(function_id)
        assert (result.status, result.message) == (pb.FAILURE, "no")


@in_loop
async def test_what_an_agent_sends_that_is_no_result_ends_its_input_with_an_error(
    shared: Instance,
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("app", spec())
        call = client.invoke(function_id)
        assign = await agent.assigned.get()
        done = done_of(result_of(assign, b"", pb.START_FAILURE, "no"), assign.app_id)
        done.results[0] = b"\xff\xff"
        await agent.send(done=done)
        result = await call
        assert result.status == pb.INTERNAL
        assert "what its agent sent as its result cannot be read" in result.message
        agent.answer(lambda assign: result_of(assign, b"1"))  # its connection is as it was
        assert (await client.invoke(function_id)).data == b"1"


@in_loop
@pytest.mark.parametrize("status", [pb.SUCCESS, pb.CANCELLED])
async def test_a_result_that_is_passed_on_unread_and_is_none_is_an_error_of_ours(
    shared: Instance, status: pb.ResultStatus
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("app", spec())
        call = client.invoke(function_id)
        assign = await agent.assigned.get()
        done = done_of(result_of(assign, b"", status, "no"), assign.app_id)
        done.results[0] = b"\xff\xff"
        await agent.send(done=done)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "cannot be read" in str(caught.value.details())


@in_loop
async def test_inputs_that_redis_has_damaged_end_with_an_error_and_others_are_run() -> None:
    with running_instance() as instance:
        async with Client(instance) as client:
            _, [function_id] = await client.register("app", spec(), ephemeral=False)
            damaged = await client.submit(function_id, {0: b"a", 1: b"b"})
            whole = await client.submit(function_id, {0: b"c"})
        instance.kill_controller()
        with instance.redis_client() as server:
            queued_anew(
                *(server, function_id),
                lambda of: {**of, b"b": b"\xff\xff"} if of[b"c"] == damaged.encode() else of,
            )
        instance.start_controller()
        async with Client(instance) as client, FakeAgent(instance) as agent:
            agent.answer(lambda assign: result_of(assign, b"1"))
            assert [one.data for one in await client.results(whole)] == [b"1"]
            for result in await client.results(damaged):
                assert result.status == pb.INTERNAL and "cannot be read" in result.message


@in_loop
async def test_a_runner_that_dies_is_given_the_input_five_times(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("app", spec())
        call = client.invoke(function_id)
        for number in range(1, 6):
            assign = await agent.assigned.get()
            assert assign.delivery == number
            await agent.send(
                returned=pb.InputsReturned(
                    call_id=assign.call_id, indexes=[0], reason="killed by signal 9", begun=[0]
                )
            )
        result = await call
        assert (result.status, result.deliveries) == (pb.RUNNER_LOST, 5)
        assert "killed by signal 9" in result.message


@in_loop
async def test_runners_that_its_caller_lost_under_an_input_count_also_after_a_restart() -> None:
    with running_instance(REKINDLE_AGENT_GRACE_S="60") as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            _, [function_id] = await client.register("app", spec())
            call_id = new_id("fc")
            call = client.invoke(function_id, call_id=call_id, lost=3)
            assign = await agent.assigned.get()
            assert (assign.delivery, assign.suspect) == (4, True)
            instance.kill_controller()
            with pytest.raises(Exception):  # noqa: B017 - whatever gRPC makes of the broken connection
                await call
            await agent.lost_connection()
            instance.start_controller()
            again = client.invoke(function_id, call_id=call_id, lost=3)
            await agent.connect()
            for number in (4, 5):
                assign = await agent.assigned.get()
                assert assign.delivery == number
                await agent.send(
                    returned=pb.InputsReturned(
                        call_id=call_id, indexes=[0], reason="killed by signal 9", begun=[0]
                    )
                )
            result = await again
            assert (result.status, result.deliveries) == (pb.RUNNER_LOST, 5)


@in_loop
async def test_a_busy_function_does_not_starve_another(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=2) as agent:
        app_id, [busy, quiet] = await client.register("app", spec("busy"), spec("quiet"))
        await client.submit(busy, dict.fromkeys(range(50), b""))
        call_id = await client.submit(quiet, {0: b""})  # it waits before any of the other is done
        served = 0
        while True:
            assign = await agent.assigned.get()
            await agent.done(assign)
            served += 1
            if assign.function_id == quiet:
                break
        assert [one.status for one in await client.results(call_id)] == [pb.SUCCESS]
        assert served < 30  # it did not wait for the queue of the other
        await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))


@in_loop
async def test_two_clients_of_one_call_get_the_same_result(shared: Instance) -> None:
    async with Client(shared) as one, Client(shared) as two, FakeAgent(shared) as agent:
        _, [function_id] = await one.register("app", spec())
        call_id = await one.submit(function_id, {0: b"a"})
        both = [asyncio.create_task(client.results(call_id)) for client in (one, two)]
        await agent.done(await agent.assigned.get(), b"same")
        assert [[r.data for r in await task] for task in both] == [[b"same"], [b"same"]]
