"""Results between the reading of them and the caller: none is lost, none comes twice."""

from __future__ import annotations

import asyncio
import random
import threading
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.sdk.calls import result_buffer
from rekindle.sdk.calls.result_buffer import ResultBuffer
from rekindle.sdk.connection.seen import Arrived, Seen


def result(index: int) -> Arrived:
    return index, bytes(100)


@pytest.mark.parametrize("ordered", [True, False])
def test_two_threads_lose_nothing_and_double_nothing(ordered: bool) -> None:
    count = 50_000
    signal = Event()
    between = ResultBuffer(ordered, signal)
    shuffle = random.Random(1)

    def fill() -> None:
        for start in range(0, count, 100):
            batch = [result(i) for i in range(start, start + 100)]
            shuffle.shuffle(batch)
            between.add(batch)
            between.add(batch[:3])  # a stream that was lost gives some again
        between.end()

    thread = threading.Thread(target=fill)
    thread.start()
    taken: list[int] = []
    while True:
        signal.clear()
        due = between.take()
        if due is None:
            break
        taken += [index for index, _ in due]
        if not due:
            signal.wait(60)
    thread.join()
    assert (taken if ordered else sorted(taken)) == list(range(count))
    assert between._bytes == 0


def test_an_error_comes_after_what_came_before_it() -> None:
    between = ResultBuffer(True, Event())
    between.add([result(0), result(2)])
    between.fail(OSError("gone"))
    due = between.take()
    assert due is not None
    assert [index for index, _ in due] == [0]
    with pytest.raises(OSError, match="gone"):
        between.take()


def test_what_is_let_go_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_buffer, "MAX_BYTES", 1000)
    between = ResultBuffer(True, Event())
    between.add([result(i) for i in range(1, 13)])
    assert between.crowded()
    assert between.drop_far_end()
    assert not between.crowded()
    assert between.cut == 6  # half is left: those next to be due
    assert between.seen.to_request() == (0, [1, 2, 3, 4, 5])
    between.add([result(i) for i in range(13)])  # what is behind the cut is not taken
    assert between.seen.all_below(between.cut)
    assert not between.drop_far_end()  # the caller has something to take now
    due = between.take()
    assert due is not None
    assert [index for index, _ in due] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("ordered", [True, False])
def test_room_comes_when_the_caller_has_taken(
    ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_buffer, "MAX_BYTES", 1000)

    async def main() -> None:
        between = ResultBuffer(ordered, Event())
        between.add([result(i) for i in range(20)])
        waiting = asyncio.ensure_future(between.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        await asyncio.to_thread(between.take)
        await asyncio.wait_for(waiting, 60)

    asyncio.run(main())


@given(st.permutations(range(30)), st.integers(0, 30))
def test_seen_knows_what_has_come_whatever_the_order(order: list[int], cut: int) -> None:
    seen = Seen()
    known: set[int] = set()
    for count, index in enumerate(order):
        assert seen.add(index) is (index not in known)
        assert seen.add(index) is False
        known.add(index)
        if count == 15:
            seen.forget_from(cut)
            known = {i for i in known if i < cut}
        start, have = seen.to_request()
        assert set(range(start)) | set(have) == known
        assert len(seen) == len(known)
        assert all(seen.all_below(end) == (known >= set(range(end))) for end in range(31))


def test_what_the_caller_takes_before_it_can_be_let_go_is_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(result_buffer, "MAX_BYTES", 400)
    between = ResultBuffer(True, Event())
    between.add([result(i) for i in range(5)])
    assert between.crowded()
    assert between.take() == [result(i) for i in range(5)]  # meanwhile, on the caller's thread
    assert not between.drop_far_end()
    assert between.seen.to_request() == (5, [])
