"""Log lines: numbered, followed live, stored, never numbered twice."""

from __future__ import annotations

import asyncio
import json
import time

import grpc
import pytest

from rekindle.controller.logs import logbook
from rekindle.controller.logs.logbook import _RECENT, _Book, _Follower
from rekindle.controller.logs.logfilter import LogFilter
from rekindle.controller.storage import keys
from rekindle.exception import InvalidError, NotFoundError
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.fake_agent import FakeAgent, done_of
from tests.controller.harness import Client, Instance, in_loop, new_id, running_instance, spec
from tests.controller.in_process import registered, running_parts


async def say(agent: FakeAgent, app_id: str, *texts: str) -> None:
    """Send lines."""
    for text in texts:
        await agent.send(log=pb.LogLine(app_id=app_id, stream="stdout", text=text))


@in_loop
async def test_lines_are_numbered_and_followed_in_order(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, _ = await client.register("app", spec())
        stream = client.call("Logs", pb.LogsRequest(app_id=app_id, follow=True))
        await say(agent, app_id, "one", "two")
        lines = [await stream.read() for _ in range(2)]
        assert [(line.seq, line.text) for line in lines] == [(1, "one"), (2, "two")]
        await say(agent, app_id, "three")
        assert (await stream.read()).text == "three"


@in_loop
async def test_marks_go_to_those_who_follow_and_to_nobody_later(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, _ = await client.register("app", spec())
        stream = client.call("Logs", pb.LogsRequest(app_id=app_id, follow=True))
        await say(agent, app_id, "one")
        await agent.send(log=pb.LogLine(app_id=app_id, stream="mark", call_id="fc-0001"))
        await say(agent, app_id, "two")
        lines = [await stream.read() for _ in range(3)]
        assert [line.text or line.call_id for line in lines] == ["one", "fc-0001", "two"]
        last = client.call("Logs", pb.LogsRequest(app_id=app_id, tail=2))
        assert [line.text async for line in last] == ["one", "two"]


@in_loop
async def test_a_result_names_the_last_line_before_it(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, [function_id] = await client.register("app", spec())
        call = client.invoke(function_id)
        assign = await agent.assigned.get()
        await say(agent, app_id, "a", "b", "c")
        await agent.done(assign)
        await say(agent, app_id, "d")
        assert (await call).log_seq == 3


@in_loop
async def test_a_result_that_is_sent_again_without_its_app_names_its_lines_too(
    shared: Instance,
) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, [function_id] = await client.register("app", spec())
        call = client.invoke(function_id)
        assign = await agent.assigned.get()
        await say(agent, app_id, "a")
        result = pb.Result(
            call_id=assign.call_id, status=pb.SUCCESS, function_id=assign.function_id
        )
        await agent.send(done=done_of(result, ""))
        assert (await call).log_seq == 1


@in_loop
async def test_many_lines_are_read_back_from_any_point(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, [function_id] = await client.register("app", spec())
        call = client.invoke(function_id)
        assign = await agent.assigned.get()
        last = _RECENT + 500
        await say(agent, app_id, *(str(i) for i in range(1, last + 1)))
        await agent.done(assign)
        assert (await call).log_seq == last
        for after in (0, 400, last - 10, last):
            stream = client.call("Logs", pb.LogsRequest(app_id=app_id, after_seq=after))
            assert [line.seq async for line in stream] == list(range(after + 1, last + 1))


@in_loop
async def test_a_slow_follower_misses_nothing(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, [function_id] = await client.register("app", spec())
        stream = client.call("Logs", pb.LogsRequest(app_id=app_id, follow=True))
        await say(agent, app_id, "1")
        assert (await stream.read()).seq == 1
        call = client.invoke(function_id)
        assign = await agent.assigned.get()
        count = _RECENT + 1000
        await say(agent, app_id, *("x" * 200 for _ in range(count)))
        await agent.done(assign)
        await call
        assert [(await stream.read()).seq for _ in range(count)] == list(range(2, count + 2))


@in_loop
async def test_lines_survive_a_restart_and_numbers_go_on(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        app_id, _ = await client.register("app", spec())
        await say(agent, app_id, "before")
        stream = client.call("Logs", pb.LogsRequest(app_id=app_id, follow=True))
        before = await stream.read()
        assert instance.end_controller() == 0
        await agent.lost_connection()
        instance.start_controller()
        await agent.connect()
        stream = client.call("Logs", pb.LogsRequest(app_id=app_id, follow=True))
        assert (await stream.read()).text == "before"
        await say(agent, app_id, "after")
        after = await stream.read()
        assert after.text == "after"
        assert after.seq > before.seq
        resumed = client.call(
            "Logs", pb.LogsRequest(app_id=app_id, after_seq=before.seq, follow=True)
        )
        assert (await resumed.read()).text == "after"


@in_loop
async def test_lines_wait_for_a_redis_that_is_away(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        app_id, _ = await client.register("app", spec())
        stream = client.call("Logs", pb.LogsRequest(app_id=app_id, follow=True))
        await say(agent, app_id, "first")
        assert (await stream.read()).text == "first"
        instance.kill_redis()
        await say(agent, app_id, "second")
        assert (await stream.read()).text == "second"  # followers need no Redis
        await asyncio.to_thread(instance.start_redis)
        assert instance.end_controller() == 0
        instance.start_controller()
        again = client.call("Logs", pb.LogsRequest(app_id=app_id))
        assert [line.text async for line in again] == ["first", "second"]


@in_loop
async def test_lines_behind_those_that_were_lost_with_controller_and_redis_are_shown(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        app_id, _ = await client.register("app", spec())
        shown = 0
        for round_ in range(3):
            stream = client.call(
                "Logs", pb.LogsRequest(app_id=app_id, after_seq=shown, follow=True)
            )
            # A mark is not stored: nothing at all is known of these lines afterwards.
            await agent.send(log=pb.LogLine(app_id=app_id, stream="mark", call_id="fc-0001"))
            assert (await stream.read()).call_id == "fc-0001"
            instance.kill_redis()
            await say(agent, app_id, f"shown {round_}")
            line = await stream.read()
            assert line.text == f"shown {round_}" and line.seq > shown
            shown = line.seq
            instance.kill_controller()
            await agent.lost_connection()
            await asyncio.to_thread(instance.start_redis)
            instance.start_controller()
            await agent.connect()


@in_loop
async def test_logs_of_an_app_that_is_not_there_are_empty(shared: Instance) -> None:
    async with Client(shared) as client:
        stream = client.call("Logs", pb.LogsRequest(app_id=new_id("ap"), follow=True))
        assert await stream.read() is grpc.aio.EOF


@in_loop
async def test_who_waits_for_an_agent_is_told() -> None:
    with running_instance(REKINDLE_NO_AGENT_S="0.1") as instance:
        async with Client(instance) as client:
            app_id, [function_id] = await client.register("app", spec())
            stream = client.call("Logs", pb.LogsRequest(app_id=app_id, follow=True))
            await client.submit(function_id, {0: b""})
            line = await stream.read()
            assert line.stream == "system"
            assert "no agent is connected" in line.text


async def say_as(agent: FakeAgent, app_id: str, text: str, **fields: object) -> None:
    """Send a line with more than its text."""
    line = pb.LogLine(app_id=app_id, text=text, **({"stream": "stdout"} | fields))  # type: ignore[arg-type]
    await agent.send(log=line)


async def texts(client: Client, **request: object) -> list[str]:
    """The texts of the lines of a request that does not follow."""
    stream = client.call("Logs", pb.LogsRequest(**request))  # type: ignore[arg-type]
    return [line.text async for line in stream]


@in_loop
async def test_lines_are_found_by_what_wrote_them_when_and_what_they_say(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, [function_id] = await client.register("filtered", spec())
        now = 1_700_000_000 * 10**9
        await say_as(agent, app_id, "one", function="f", call_id="fc-0001", at_ns=now)
        await say_as(agent, app_id, "two", function="f", runner_id="ru-1", at_ns=now + 10**9)
        await say_as(
            agent, app_id, "Three", function="Model", stream="stderr", at_ns=now + 2 * 10**9
        )
        await say_as(
            agent, app_id, "four", function="Model", stream="system", at_ns=now + 3 * 10**9
        )
        call = client.invoke(function_id)
        await agent.done(await agent.assigned.get())
        await call  # the lines before it are there
        for wanted, expected in (
            ({}, ["one", "two", "Three", "four"]),
            ({"function": "f"}, ["one", "two"]),
            ({"function": "Model.predict"}, ["Three", "four"]),
            ({"call_id": "fc-0001"}, ["one"]),
            ({"runner_id": "ru-1"}, ["two"]),
            ({"streams": ["stderr", "system"]}, ["Three", "four"]),
            ({"search": "THREE"}, ["Three"]),
            ({"since_ns": now + 10**9}, ["two", "Three", "four"]),
            ({"since_ns": now + 10**9, "until_ns": now + 3 * 10**9}, ["two", "Three"]),
            ({"tail": 1, "until_ns": now + 2 * 10**9}, ["two"]),
            ({"function": "f", "search": "t"}, ["two"]),
            ({"tail": 2}, ["Three", "four"]),
            ({"tail": 1, "function": "f"}, ["two"]),
            ({"tail": 9, "since_ns": now + 2 * 10**9}, ["Three", "four"]),
        ):
            for by in ({"app_id": app_id}, {"app": "filtered"}, {"app": app_id}):
                assert await texts(client, **by, **wanted) == expected, wanted


@in_loop
async def test_a_tail_is_found_in_what_is_stored_and_in_what_is_not(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, [function_id] = await client.register("long", spec())
        call = client.invoke(function_id)
        assign = await agent.assigned.get()
        await say(
            agent, app_id, *(f"{i} {'even' if i % 2 == 0 else 'odd'}" for i in range(1, 3001))
        )
        await agent.done(assign)
        await call
        found = await texts(client, app_id=app_id, tail=_RECENT + 500)
        assert found[0] == "501 odd"
        assert len(found) == 2500
        assert await texts(client, app_id=app_id, tail=2, search="odd") == ["2997 odd", "2999 odd"]
        assert (await texts(client, app_id=app_id, tail=9000, search="even"))[0] == "2 even"
        assert await texts(client, app_id=app_id, tail=5, search="nowhere") == []


@in_loop
async def test_a_tail_is_followed_without_a_gap(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, _ = await client.register("followed", spec())
        await say(agent, app_id, "one", "two", "no", "three")
        first = client.call("Logs", pb.LogsRequest(app_id=app_id, follow=True))
        for _ in range(4):
            await first.read()
        stream = client.call(
            "Logs", pb.LogsRequest(app="followed", tail=2, search="t", follow=True)
        )
        assert [(await stream.read()).text for _ in range(2)] == ["two", "three"]
        await say(agent, app_id, "four", "ten")
        assert (await stream.read()).text == "ten"
        await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        assert await stream.read() is grpc.aio.EOF


@in_loop
async def test_a_closed_app_is_found_by_name_also_after_a_restart(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        for text in ("first", "second"):
            app_id, [function_id] = await client.register("bygone", spec())
            await say(agent, app_id, text)
            call = client.invoke(function_id)
            await agent.done(await agent.assigned.get())
            await call
            await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        assert await texts(client, app="bygone") == ["second"]
        assert instance.end_controller() == 0
        instance.start_controller()
        assert await texts(client, app="bygone", tail=5) == ["second"]
        assert await texts(client, app=app_id) == ["second"]
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await texts(client, app="bygon")
        assert "did you mean 'bygone'?" in (raised.value.details() or "")


@in_loop
async def test_of_two_open_apps_of_a_name_one_is_asked_for_by_its_id(shared: Instance) -> None:
    async with Client(shared) as client:
        ids = [(await client.register("twins", spec()))[0] for _ in range(2)]
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await texts(client, app="twins")
        assert all(app_id in (raised.value.details() or "") for app_id in ids)
        assert await texts(client, app=ids[0]) == []


@in_loop
async def test_of_apps_of_a_name_the_one_that_is_deployed_is_meant(redis_alone: Instance) -> None:
    async with running_parts(redis_alone) as parts:
        run, deployed = [(await registered(parts)).app for _ in range(2)]
        with pytest.raises(InvalidError, match="2 open apps"):
            await parts.app_names.find("app")
        deployed.version = 1
        assert await parts.app_names.find("app") == deployed.app_id
        deployed.retired = True  # there is a newer one, which was stopped
        assert await parts.app_names.find("app") == run.app_id


@in_loop
async def test_lines_that_come_together_have_numbers_and_are_found_one_by_one(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        app_id, [function_id] = await client.register("together", spec())
        call = client.invoke(function_id)
        assign = await agent.assigned.get()
        await say(agent, app_id, "1", "2 even\n3\n4 even\n5", "6 even\n7")
        await agent.done(assign)
        assert (await call).log_seq == 7
        for restarted in (False, True):
            if restarted:  # from Redis alone
                assert instance.end_controller() == 0
                instance.start_controller()
            for wanted, expected in (
                ({"after_seq": 3}, [(5, "4 even\n5"), (7, "6 even\n7")]),
                ({"tail": 3}, [(5, "5"), (7, "6 even\n7")]),
                ({"tail": 2, "search": "EVEN"}, [(4, "4 even"), (6, "6 even")]),
                (
                    {"search": "n"},
                    [(2, "2 even"), (4, "4 even"), (6, "6 even")],
                ),
            ):
                stream = client.call("Logs", pb.LogsRequest(app_id=app_id, **wanted))  # type: ignore[arg-type]
                assert [(line.seq, line.text) async for line in stream] == expected, wanted


@in_loop
async def test_so_many_lines_are_kept_however_many_come_together_also_after_a_restart() -> None:
    keep = 2000
    with running_instance(REKINDLE_LOG_LINES=str(keep)) as instance:
        async with Client(instance) as client, FakeAgent(instance) as agent:
            app_id, [function_id] = await client.register("kept", spec())

            async def print_lines(size: int, texts: list[str]) -> None:
                call = client.invoke(function_id)
                assign = await agent.assigned.get()
                for start in range(0, len(texts), size):
                    await say(agent, app_id, "\n".join(texts[start : start + size]))
                await agent.done(assign)
                await call

            await print_lines(1, [f"single {number}" for number in range(1500)])
            await print_lines(100, [f"first {number}" for number in range(3000)])
            assert instance.end_controller() == 0
            await agent.lost_connection()
            instance.start_controller()
            await agent.connect()
            await print_lines(100, [f"second {number}" for number in range(1500)])
            assert instance.end_controller() == 0
            instance.start_controller()  # only what is stored is known
            kept = "\n".join(await texts(client, app_id=app_id)).split("\n")
            assert kept[-1] == "second 1499" and kept[-1501] == "first 2999"
            # Redis drops whole nodes of its stream, of some kilobytes.
            assert keep <= len(kept) <= keep + 1000


@in_loop
async def test_what_is_damaged_is_said_in_its_place_and_hides_no_other_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logbook, "_READ", 2)  # a page of damaged ones is not the last
    with running_instance(start=False) as instance:
        instance.start_redis()
        async with running_parts(instance) as parts:
            for entry in ("1-1", "2-1", "5-3", "6-1", "7-1"):
                seq = int(entry[0])
                raw = pb.LogLine(seq=seq, text=f"line {seq}").SerializeToString()
                raw = b"\xff" if 1 < seq < 7 else raw
                await parts.link.command("XADD", keys.logs("ap-1"), entry, "l", raw)
            why = "of output left out: what is kept of them cannot be read"
            one, three = f"... 1 line {why}", f"... 3 lines {why}"
            wanted = ["line 1", one, three, one, "line 7"]
            followed = parts.logbook.follow("ap-1", 0, live=False)
            assert [line.text async for line in followed] == wanted
            found, last = await parts.logbook.tail("ap-1", 9, None)
            assert [line.text for line in found] == wanted and last == 7


@in_loop
async def test_lines_that_redis_refuses_hinder_no_others_and_no_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running_instance(start=False) as instance:
        instance.start_redis()
        async with running_parts(instance) as parts:
            await parts.link.command("SET", keys.logs("ap-bad"), "no stream")
            for app_id in ("ap-bad", "ap-good"):
                await parts.logbook.open(app_id, again=True)
            for _ in range(3):
                for app_id in ("ap-bad", "ap-good"):
                    parts.logbook.say(app_id, "a line")
                await parts.logbook.flush()
            assert len(await parts.link.command("XRANGE", keys.logs("ap-good"), "-", "+")) == 3
            assert await parts.link.command("GET", keys.logs("ap-bad")) == b"no stream"
    said = [record.getMessage() for record in caplog.records]
    assert said.count("log lines of an app are not kept") == 1


@in_loop
async def test_lines_since_a_time_are_found_in_whichever_order_their_runners_sent_them(
    redis_alone: Instance,
) -> None:
    since = 1_700_000_000 * 10**9
    async with running_parts(redis_alone) as parts:
        await parts.logbook.open("ap-1")
        for text, second in (("after", 1), ("before", -30)):
            at_ns = since + second * 10**9
            parts.logbook.add(pb.LogLine(app_id="ap-1", text=text, at_ns=at_ns))
        found, _ = await parts.logbook.tail("ap-1", 9, LogFilter(since_ns=since))
        assert [line.text for line in found] == ["after"]


@in_loop
async def test_of_lines_that_redis_takes_too_slowly_the_newest_are_stored(
    redis_alone: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logbook, "_UNSTORED", 5)
    async with running_parts(redis_alone) as parts:
        await parts.logbook.open("ap-1")
        for first, last in ((0, 10), (10, 13)):
            for number in range(first, last):
                parts.logbook.say("ap-1", str(number))
            await parts.logbook.flush()
        stored = await parts.link.command("XRANGE", keys.logs("ap-1"), "-", "+")
        texts = [pb.LogLine.FromString(fields[b"l"]).text for _, fields in stored]
        assert texts == [str(number) for number in range(5, 13)]


@in_loop
async def test_a_closed_app_is_known_by_name_as_long_as_its_lines_are_kept(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        now, kept_s = time.time(), parts.core.settings.result_ttl_s
        for app_id, closed in (("ap-old", now - kept_s - 1), ("ap-new", now - kept_s + 60)):
            known = json.dumps({"name": app_id[3:], "closed": closed})
            await parts.link.command(
                "HSET", keys.closed_apps(parts.core.state.instance_id), app_id, known
            )
        await parts.app_names.closed(function.app)
        assert await parts.app_names.find("new") == "ap-new"
        with pytest.raises(NotFoundError):
            await parts.app_names.find("old")


def a_line(book: _Book, text: str) -> pb.LogLine:
    book.seq += 1
    return pb.LogLine(seq=book.seq, text=text, stream="stdout")


def test_lines_that_a_follower_has_not_been_sent_stay_in_memory() -> None:
    book, reader = _Book(), _Follower(0)
    book.followers.add(reader)
    for number in range(20_000):
        book.add(a_line(book, str(number)))
    assert [line.text for line in book.recent] == [str(number) for number in range(20_000)]
    reader.position = book.stored = book.seq
    book.add(a_line(book, "next"))
    assert len(book.recent) == _RECENT and reader.left_out == 0


def test_beyond_the_bound_the_oldest_are_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logbook, "_UNREAD", _RECENT + 100)
    book, reader = _Book(), _Follower(0)
    book.followers.add(reader)
    for number in range(_RECENT + 170):
        book.add(a_line(book, str(number)))
    assert len(book.recent) == _RECENT + 100 and reader.left_out == 70
