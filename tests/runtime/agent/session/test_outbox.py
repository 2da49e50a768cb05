"""What an agent sends: in order, results joined while others are written, nothing doubled."""

from __future__ import annotations

import asyncio

import pytest

from rekindle.runtime.agent.session import outbox as outbox_module
from rekindle.runtime.agent.session.outbox import MAX_BUFFERED, Outbox
from rekindle.wire import rekindle_pb2 as pb


def done(call: str, *indexes: int) -> pb.AgentMessage:
    return pb.AgentMessage(
        done=pb.Done(
            call_id=call,
            indexes=indexes,
            statuses=[pb.SUCCESS] * len(indexes),
            results=[b"%d" % index for index in indexes],
            execute_ns=10 * len(indexes),
        )
    )


def line(call: str, text: str) -> pb.AgentMessage:
    return pb.AgentMessage(log=pb.LogLine(call_id=call, text=text))


def told(outbox: Outbox) -> list[str]:
    """All that waits, in short."""

    async def take() -> list[str]:
        found: list[str] = []
        while True:
            try:
                async with asyncio.timeout(0.01):
                    message = await outbox.next()
            except TimeoutError:
                return found
            if message.WhichOneof("kind") == "done":
                assert [b"%d" % i for i in message.done.indexes] == list(message.done.results)
                assert message.done.execute_ns == 10 * len(message.done.indexes)
                found.append(f"{message.done.call_id}{list(message.done.indexes)}")
            else:
                found.append(message.log.text)

    return asyncio.run(take())


def test_results_of_a_call_that_wait_travel_together() -> None:
    outbox = Outbox()
    outbox.connected()
    for message in (done("a", 1), done("b", 1), done("a", 2, 3), done("a", 4), done("b", 2)):
        outbox.put(message)
    assert told(outbox) == ["a[1, 2, 3, 4]", "b[1, 2]"]


def test_a_line_goes_before_the_results_that_follow_it() -> None:
    outbox = Outbox()
    outbox.connected()
    for message in (done("a", 1), line("a", "x"), done("a", 2), done("b", 1), line("a", "y")):
        outbox.put(message)
    for message in (done("a", 3), done("b", 2), line("", "whose?"), done("b", 3)):
        outbox.put(message)
    assert told(outbox) == ["a[1]", "x", "a[2]", "b[1, 2]", "y", "a[3]", "whose?", "b[3]"]


def test_results_that_go_on_coming_are_gathered_and_the_last_ones_wait_for_nothing() -> None:
    async def scenario() -> None:
        outbox = Outbox()
        outbox.connected()
        for index in range(4):
            outbox.put(done("a", index), more=True)
        outbox.put(done("b", 7), more=True)  # another call's
        outbox.put(line("a", "printed by what is not done"))
        assert list((await outbox.next()).done.indexes) == [0]
        assert list((await outbox.next()).done.indexes) == [7]
        assert (await outbox.next()).log.text == "printed by what is not done"
        outbox.put(done("a", 4))
        last = (await outbox.next()).done
        assert list(last.indexes) == [1, 2, 3, 4] and last.execute_ns == 40

    asyncio.run(scenario())


def test_gathered_results_go_a_moment_later_whatever_comes() -> None:
    async def scenario() -> None:
        outbox = Outbox()
        outbox.connected()
        for index in range(3):
            outbox.put(done("a", index), more=True)
        assert list((await outbox.next()).done.indexes) == [0]
        assert list((await outbox.next()).done.indexes) == [1, 2]

    asyncio.run(scenario())


def test_results_that_runners_wait_for_an_answer_to_are_not_gathered_for_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_module, "GATHER_S", 3600.0)

    async def scenario() -> None:
        outbox = Outbox()
        outbox.connected()
        outbox.put(done("a", 0), more=True)
        assert list((await outbox.next()).done.indexes) == [0]
        outbox.put(done("a", 1), more=True)
        outbox.put(done("a", 2), more=True, soon=True)
        assert list((await outbox.next()).done.indexes) == [1, 2]
        outbox.put(done("a", 3), more=True, soon=True)
        outbox.put(done("a", 4), more=True)
        assert list((await outbox.next()).done.indexes) == [3, 4]

    asyncio.run(scenario())


def test_gathered_results_are_not_kept_over_a_lost_connection() -> None:
    async def scenario() -> list[list[int]]:
        outbox = Outbox()
        outbox.connected()
        outbox.put(done("a", 1), more=True)
        outbox.put(done("a", 2), more=True)
        outbox.disconnected()
        outbox.connected()
        outbox.put(done("a", 1))  # as the node says it again
        outbox.put(done("a", 2))
        await asyncio.sleep(0)
        return [list((await outbox.next()).done.indexes)]

    assert asyncio.run(scenario()) == [[1, 2]]


def test_a_message_that_is_being_written_is_not_changed() -> None:
    async def scenario() -> None:
        outbox = Outbox()
        outbox.connected()
        outbox.put(done("a", 1))
        first = await outbox.next()
        outbox.put(done("a", 2))
        assert list(first.done.indexes) == [1]
        assert list((await outbox.next()).done.indexes) == [2]

    asyncio.run(scenario())


def test_large_results_are_not_joined_without_end() -> None:
    outbox = Outbox()
    outbox.connected()
    for index in range(10):
        message = done("a", index)
        message.done.results[0] = bytes(1 << 20)
        outbox.put(message)

    async def sizes() -> list[int]:
        return [len((await outbox.next()).done.indexes) for _ in range(3)]

    assert asyncio.run(sizes()) == [4, 4, 2]


def test_without_a_connection_lines_are_kept_and_results_are_the_nodes() -> None:
    outbox = Outbox()
    outbox.put(line("a", "early"))
    outbox.put(done("a", 1))
    outbox.connected()
    outbox.put(done("a", 2))
    outbox.put(line("a", "late"))
    outbox.disconnected(line("a", "was being written"))
    assert not outbox.open
    outbox.connected()
    assert told(outbox) == ["was being written", "early", "late"]


def test_what_is_kept_is_bounded_and_what_was_left_out_is_said() -> None:
    outbox = Outbox()
    for number in range(MAX_BUFFERED + 5):
        outbox.put(line("a", str(number)))
    outbox.connected()
    said, *kept = told(outbox)
    assert said == "... 5 lines of output left out: the controller was away for too long"
    assert kept == [str(number) for number in range(5, MAX_BUFFERED + 5)]


def test_of_one_line_that_was_left_out_it_is_said_that_it_was_one() -> None:
    outbox = Outbox()
    for number in range(MAX_BUFFERED + 1):
        outbox.put(line("a", str(number)))
    outbox.connected()
    assert told(outbox)[0].startswith("... 1 line of output left out: ")


def test_of_messages_with_several_lines_as_many_lines_are_kept_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_module, "MAX_BUFFERED", 5)
    outbox = Outbox()
    for text in ("1\n2\n3", "4\n5", "6\n7"):
        outbox.put(line("a", text))
    outbox.connected()

    async def texts() -> list[str]:
        return [(await outbox.next()).log.text for _ in range(3)]

    said, *kept = asyncio.run(texts())
    assert said.startswith("... 3 lines of output left out") and kept == ["4\n5", "6\n7"]


def test_lines_are_bounded_by_their_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "MAX_BUFFERED_BYTES", 100_000)
    outbox = Outbox()
    for number in range(1000):
        outbox.put(line("a", str(number).zfill(10_000)))
    outbox.connected()
    said, *kept = told(outbox)
    assert said == "... 991 lines of output left out: the controller was away for too long"
    assert [int(text[-4:]) for text in kept] == list(range(991, 1000))


def test_answers_to_the_controller_wait_however_many_lines_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_module, "MAX_BUFFERED", 5)
    outbox = Outbox()
    for number in range(100):
        outbox.put(pb.AgentMessage(app_closed=pb.AppClosed(app_id=f"ap-{number}")))
        outbox.put(line("a", f"{number}\n{number}"))
    outbox.connected()

    async def scenario() -> tuple[list[str], list[str]]:
        found = [await outbox.next() for _ in range(103)]
        return (
            [one.app_closed.app_id for one in found if one.WhichOneof("kind") == "app_closed"],
            [one.log.text for one in found if one.WhichOneof("kind") == "log"],
        )

    closed, (said, *kept) = asyncio.run(scenario())
    assert closed == [f"ap-{number}" for number in range(100)]
    assert said.startswith("... 196 lines") and kept == ["98\n98", "99\n99"]


def test_a_controller_that_is_there_and_takes_nothing_is_waited_for_with_as_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every result is sent; of heartbeats the last, and lines are left out where they were."""
    monkeypatch.setattr(outbox_module, "MAX_UNSENT", 5)

    async def scenario() -> list[str]:
        outbox = Outbox()
        outbox.connected()
        for number in range(5000):
            outbox.put(line("", str(number)))
            agent = pb.AgentMessage(heartbeat=pb.Heartbeat(stats=pb.NodeStats()))
            agent.heartbeat.lists_in_flight = number == 4999
            outbox.put(agent)
            if number % 1000 == 0:
                outbox.put(done("a", number))
        assert len(outbox._queue) < 2500
        found: list[str] = []
        while len(found) < 12:
            message = await outbox.next()
            kind = message.WhichOneof("kind")
            if kind == "heartbeat":
                assert message.heartbeat.lists_in_flight
            found.append(message.log.text if kind == "log" else str(kind))
        return found

    said, *found = asyncio.run(scenario())
    assert said == "... 4,995 lines of output left out: the controller took too few of them"
    assert found == [*["done"] * 5, *map(str, range(4995, 5000)), "heartbeat"]


def test_lines_wait_where_they_are_while_a_controller_takes_fewer_than_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_module, "MAX_UNSENT", 10)

    async def scenario() -> None:
        outbox = Outbox()
        outbox.connected()
        for number in range(5):
            outbox.put(line("a", str(number)))
        assert not outbox.lines_wait()
        outbox.put(line("a", "5"))
        assert outbox.lines_wait()
        await outbox.next()
        assert not outbox.lines_wait()
        outbox.put(line("a", "6"))
        assert outbox.lines_wait()
        monkeypatch.setattr(outbox_module, "_STUCK_S", 0.0)  # it takes nothing any more
        assert not outbox.lines_wait()

    asyncio.run(scenario())


def test_no_line_waits_where_it_is_for_a_controller_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_module, "MAX_UNSENT", 10)
    monkeypatch.setattr(outbox_module, "MAX_BUFFERED", 4)
    outbox = Outbox()
    outbox.connected()
    for number in range(8):
        outbox.put(line("a", str(number)))
    assert outbox.lines_wait()
    outbox.disconnected()
    assert not outbox.lines_wait()
    outbox.connected()
    said, *kept = told(outbox)
    assert said == "... 4 lines of output left out: the controller was away for too long"
    assert kept == ["4", "5", "6", "7"]


def test_what_says_how_many_lines_were_left_out_outlives_another_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox_module, "MAX_BUFFERED", 2)
    outbox = Outbox()
    for number in range(5):
        outbox.put(line("a", str(number)))
    outbox.connected()
    outbox.disconnected()
    for number in range(5, 10):
        outbox.put(line("a", str(number)))
    outbox.connected()
    said, *kept = told(outbox)
    assert said.startswith("... 8 lines") and kept == ["8", "9"]


def test_calls_that_inputs_made_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "MAX_BUFFERED", 3)
    outbox = Outbox()
    for number in range(5):
        calls = [pb.NestedCall(index=number)]
        outbox.put(pb.AgentMessage(nested=pb.NestedCalls(calls=calls)))
    outbox.connected()

    async def indexes() -> list[int]:
        return [(await outbox.next()).nested.calls[0].index for _ in range(3)]

    assert asyncio.run(indexes()) == [2, 3, 4]


def test_of_a_controller_that_takes_nothing_for_days_one_heartbeat_waits() -> None:
    async def scenario() -> None:
        outbox = Outbox()
        outbox.connected()
        for _ in range(10_000):
            outbox.put(pb.AgentMessage(heartbeat=pb.Heartbeat()))
        assert len(outbox._queue) < 2000
        assert (await outbox.next()).WhichOneof("kind") == "heartbeat"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await outbox.next()

    asyncio.run(scenario())
