"""Inputs that were given up are kept, can be looked at, and run again or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rekindle import exception
from rekindle.controller.queue import dead_letters
from rekindle.controller.storage import keys
from rekindle.exception import ServiceError
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.fake_agent import FakeAgent, echo, result_of
from tests.controller.harness import Client, Instance, in_loop, new_id, running_instance, spec
from tests.controller.in_process import of_one_input, registered, running_parts
from tests.controller.refusals import refused


async def letters(client: Client, function_id: str) -> list[pb.DeadLetter]:
    """The dead letters of a function."""
    reply = await client.call("DeadLetters", pb.DeadLettersRequest(function_id=function_id))
    assert reply.total == len(reply.letters)
    return list(reply.letters)


async def kill_five_times(agent: FakeAgent, index: int) -> None:
    """The runner of an input dies until it is given up."""
    for _ in range(5):
        assign = await agent.assigned.get()
        assert assign.inputs[0].index == index
        await agent.send(
            returned=pb.InputsReturned(
                call_id=assign.call_id, indexes=[index], reason="killed by signal 11", begun=[index]
            )
        )


@in_loop
async def test_an_input_that_kills_its_runners_is_kept_and_can_be_run_again(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, [function_id] = await client.register("app", spec())
        call_id = await client.submit(function_id, {3: b"payload"})
        await kill_five_times(agent, 3)
        [result] = await client.results(call_id)
        assert result.status == pb.RUNNER_LOST
        [letter] = await letters(client, function_id)
        assert (letter.call_id, letter.index, letter.function) == (call_id, 3, "double")
        assert (letter.app, letter.deliveries, letter.payload_bytes) == ("app", 5, 7)
        assert "killed by signal 11" in letter.reason and letter.error_type == "RUNNER_LOST"

        instance.kill_redis()
        instance.kill_controller()
        instance.start_redis()
        instance.start_controller()
        await agent.connect()
        agent.answer(echo)
        replayed = await client.call("Replay", pb.DeadLetterSelection(ids=[letter.id]))
        assert (replayed.count, len(replayed.calls)) == (1, 1)
        [again] = await client.results(replayed.calls[0])
        assert (again.index, again.status, again.data) == (0, pb.SUCCESS, b"payload")
        assert await letters(client, function_id) == []


@in_loop
async def test_what_is_a_dead_letter_and_what_is_not(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared, max_runners=8) as agent:
        _, [plain, retried] = await client.register(
            "app", spec("plain"), spec("retried", retries={"max_retries": 1})
        )
        finalizer = {
            0: result_of(pb.Assign(inputs=[pb.Input(index=0)]), b"", pb.FAILURE),
            1: result_of(pb.Assign(inputs=[pb.Input(index=1)]), b"", pb.TIMEOUT),
            2: result_of(pb.Assign(inputs=[pb.Input(index=2)]), b"user's", pb.START_FAILURE),
            3: result_of(pb.Assign(inputs=[pb.Input(index=3)]), b"", pb.START_FAILURE),
            4: result_of(pb.Assign(inputs=[pb.Input(index=4)]), b"", pb.CANCELLED),
        }

        def answer(assign: pb.Assign) -> pb.Result:
            result = pb.Result()
            result.CopyFrom(finalizer[assign.inputs[0].index])
            result.call_id, result.function_id = assign.call_id, assign.function_id
            result.traceback = "where it was"
            return result

        agent.answer(answer)
        calls = [await client.submit(plain, dict.fromkeys(finalizer, b""))]
        assert len(await client.results(calls[0])) == 5
        assert [one.index for one in await letters(client, plain)] == [3]
        calls.append(await client.submit(retried, {0: b"a", 1: b"b"}))
        assert len(await client.results(calls[1])) == 2
        found = await letters(client, retried)
        assert sorted(one.index for one in found) == [0, 1]
        assert {(one.deliveries, one.traceback) for one in found} == {(2, "where it was")}
        # One that is waited for tells its caller, and nobody else.
        finalizer[0].status = pb.START_FAILURE
        assert (await client.invoke(plain)).status == pb.START_FAILURE
        assert len(await letters(client, plain)) == 1

        # Inputs of one call run again as one call.
        agent.answer(echo)
        reply = await client.call("Replay", pb.DeadLetterSelection(function_id=retried))
        assert (reply.count, len(reply.calls), reply.note) == (2, 1, "")
        assert {r.data for r in await client.results(reply.calls[0])} == {b"a", b"b"}
        dropped = await client.call("Drop", pb.DeadLetterSelection(function_id=plain))
        assert dropped.count == 1
        assert await letters(client, plain) == []


@in_loop
async def test_letters_of_a_closed_app_are_kept_and_not_run(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, [function_id] = await client.register("closing", spec())
        call_id = await client.submit(function_id, {0: b""})
        await kill_five_times(agent, 0)
        await client.results(call_id)
        await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        [letter] = await letters(client, function_id)
        reply = await client.call("Replay", pb.DeadLetterSelection(ids=[letter.id]))
        assert reply.count == 0 and "closed" in reply.note and "closing.double" in reply.note
        assert await letters(client, function_id) == [letter]
        page = await client.call("DeadLetters", pb.DeadLettersRequest(after=letter.id, limit=1))
        assert letter.id not in [one.id for one in page.letters]


@in_loop
async def test_the_list_is_bounded() -> None:
    with running_instance(REKINDLE_DEAD_LETTERS="100") as instance:
        async with Client(instance) as client, FakeAgent(instance, max_runners=8) as agent:
            agent.answer(lambda assign: result_of(assign, b"", pb.INTERNAL))
            _, [function_id] = await client.register("app", spec())
            call_id = await client.submit(function_id, dict.fromkeys(range(600), b""))
            await client.results(call_id)
            reply = await client.call("DeadLetters", pb.DeadLettersRequest(limit=1000))
            assert 100 <= reply.total <= 300  # streams are trimmed by whole nodes


@in_loop
async def test_letters_are_kept_for_as_long_as_results(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, [function_id] = await client.register("app", spec())
        stream = keys.dead(function_id)
        with instance.redis_client() as redis:
            redis.xadd(stream, {"l": b"", "b": b""}, id="1-0")  # of 1970
            call_id = await client.submit(function_id, {0: b""})
            await kill_five_times(agent, 0)
            await client.results(call_id)
            assert [one.call_id for one in await letters(client, function_id)] == [call_id]
            assert 6 * 86_400 < redis.ttl(stream) <= 7 * 86_400


@in_loop
async def test_a_letter_that_is_damaged_hides_no_others_and_can_be_dropped(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, [function_id] = await client.register("app", spec())
        with instance.redis_client() as redis:
            call_id = await client.submit(function_id, {0: b"payload"})
            await kill_five_times(agent, 0)
            await client.results(call_id)
            good = (await letters(client, function_id))[0]
            (_, fields), *_ = redis.xrange(keys.dead(function_id))
            for damaged in ({b"l": b"\xff"}, {b"b": b"\xff"}, {b"b": b""}):
                redis.xadd(keys.dead(function_id), {**fields, **damaged})
        first, broken, *others = await letters(client, function_id)
        assert first == good and (broken.app, broken.function) == ("app", "double")
        assert broken.reason == "what is kept of it cannot be read"
        of = pb.DeadLetterSelection(function_id=function_id)
        reply = await client.call("Replay", of)
        assert reply.count == 1 and "cannot be read (drop them): " + broken.id in reply.note
        assert await letters(client, function_id) == [broken, *others]
        assert (await client.call("Drop", of)).count == 3
        assert await letters(client, function_id) == []


@in_loop
async def test_a_replay_that_is_cut_short_runs_nothing_twice_when_it_is_asked_for_again(
    redis_alone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "_PAGE", 2)
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        first, second = new_id("fc"), new_id("fc")
        for index, call_id in enumerate([first, second, second, second]):
            letter = pb.DeadLetter(call_id=call_id, app="app", function=function.name)
            request = pb.SubmitRequest(inputs=[pb.Input(index=index, payload=b"x")])
            kept = {"l": letter.SerializeToString(), "b": request.SerializeToString()}
            fields = [word for pair in kept.items() for word in pair]
            await parts.link.command("XADD", keys.dead(function.function_id), "*", *fields)
        store = parts.letters._letters
        drop, wanted = store.drop, pb.DeadLetterSelection(function_id=function.function_id)
        submitted: list[str] = []
        submit = parts.intake.submit

        async def submitting(of: Any, made: pb.SubmitRequest) -> int:
            submitted.append(made.call_id)
            return await submit(of, made)

        async def dropping(function_id: str, entries: Sequence[str]) -> None:
            if len(submitted) >= 2:
                raise ServiceError("killed")
            await drop(function_id, entries)

        monkeypatch.setattr(parts.intake, "submit", submitting)
        monkeypatch.setattr(store, "drop", dropping)
        with pytest.raises(ServiceError, match="killed"):
            await parts.letters.replay(wanted)
        monkeypatch.setattr(store, "drop", drop)
        await parts.letters.replay(wanted)
        assert function.undone == 4
        assert not await parts.link.command("XLEN", keys.dead(function.function_id))


@in_loop
async def test_a_selection_that_selects_nothing_is_refused(shared: Instance) -> None:
    async with Client(shared) as client:
        for selection in (pb.DeadLetterSelection(), pb.DeadLetterSelection(ids=["what"])):
            for method in ("Replay", "Drop"):
                error = await refused(client.call(method, selection))
                assert isinstance(error, exception.InvalidError)


@in_loop
async def test_a_page_of_letters_is_bounded_in_bytes_whatever_their_tracebacks_are(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance, max_runners=8) as agent:
        _, [function_id] = await client.register("app", spec(retries={"max_retries": 0}))

        def answer(assign: pb.Assign) -> pb.Result:
            made = result_of(assign, b"", pb.INTERNAL)
            made.traceback = "x" * 200_000
            return made

        agent.answer(answer)
        call_id = await client.submit(function_id, dict.fromkeys(range(30), b""))
        await client.results(call_id)
        seen: list[int] = []
        after = ""
        while True:
            asked = pb.DeadLettersRequest(limit=500, after=after)
            reply = await client.call("DeadLetters", asked)
            assert reply.total == 30 and reply.ByteSize() < 2 << 20
            if not reply.letters:
                break
            seen += [one.index for one in reply.letters]
            after = reply.letters[-1].id
        assert sorted(seen) == list(range(30))


@in_loop
async def test_pages_have_the_letters_of_all_functions_each_once(redis_alone: Instance) -> None:
    async with running_parts(redis_alone) as parts:
        for name in ("fu-a", "fu-b", "fu-c"):
            await parts.letters._letters.note(name)
            for _ in range(2):
                await parts.link.command("XADD", keys.dead(name), "*", "l", b"", "b", b"")
        seen, after = list[str](), ""
        for _ in range(7):
            reply = await parts.letters.listed(pb.DeadLettersRequest(limit=1, after=after))
            for one in reply.letters:
                after = one.id
                seen.append(after.partition("/")[0])
        assert seen == ["fu-a", "fu-a", "fu-b", "fu-b", "fu-c", "fu-c"]


@in_loop
async def test_of_apps_of_one_name_the_newest_runs_what_was_given_up(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone) as parts:
        first, second = await registered(parts), await registered(parts)
        letter = pb.DeadLetter(call_id="fc-0001", app="app", function=first.name)
        kept = "l", letter.SerializeToString(), "b", of_one_input(first).SerializeToString()
        await parts.link.command("XADD", keys.dead("fu-closed"), "*", *kept)
        await parts.letters.replay(pb.DeadLetterSelection(function_id="fu-closed"))
        assert (first.undone, second.undone) == (0, 1)


@in_loop
async def test_functions_that_are_closed_and_have_no_letters_are_not_looked_at_for_ever(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone) as parts:
        letters, link = parts.letters, parts.link
        function = await registered(parts)
        gone = [f"fu-gone-{n}" for n in range(1500)]
        for function_id in [*gone, function.function_id]:
            await letters._letters.note(function_id)
        asked = 0
        ask = link.commands

        async def counted(*args: Any, **more: Any) -> Any:
            nonlocal asked
            asked += 1
            return await ask(*args, **more)

        link.commands = counted  # type: ignore[method-assign]
        assert set((await letters.counts()).values()) == {0}
        assert asked == 4, "as many requests as pages, not as functions"
        assert await letters._letters.functions() == [function.function_id]
        assert letters._letters._noted == {function.function_id}
