"""map and its family: order, laziness, exceptions. How inputs travel: test_map_submission.py."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import rekindle
from rekindle.exception import (
    InvalidError,
    NeverIteratedWarning,
    SerializationError,
)
from rekindle.sdk.calls import result_buffer, window
from rekindle.wire import rekindle_pb2 as pb
from tests.e2e.harness import wait_until
from tests.sdk.fake_controller import FakeController

app = rekindle.App("maps")
first_may_end = threading.Event()


@app.function()
def square(x: int) -> int:
    return x * x


@app.function()
def add(x: int, y: int, z: int = 0) -> int:
    return x + y + z


@app.function()
def odd_only(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(f"{x} is even")
    return x


@app.function()
def first_is_last(x: int) -> int:
    if x == 0:
        first_may_end.wait(60)
    elif x == 3:
        first_may_end.set()
    return x


@app.function()
def first_waits(x: int) -> bytes:
    if x == 0:
        first_may_end.wait(60)
    return bytes(1000)


def test_values_come_in_the_order_of_the_inputs(controller: FakeController) -> None:
    first_may_end.clear()
    with app.run():
        assert list(square.map(range(200))) == [x * x for x in range(200)]
        assert list(first_is_last.map(range(4))) == [0, 1, 2, 3]


def test_or_as_they_are_ready(controller: FakeController) -> None:
    first_may_end.clear()
    with app.run():
        results = first_is_last.map([0, 1, 2], order_outputs=False)
        values = {next(results), next(results)}
        first_may_end.set()
        assert next(results) == 0
    assert values == {1, 2}


def test_iterators_are_zipped_and_kwargs_shared(controller: FakeController) -> None:
    with app.run():
        assert list(add.map([1, 2, 3], [10, 20], kwargs={"z": 100})) == [111, 122]
        assert list(add.starmap([(1, 2), [3, 4]], kwargs={"z": 1})) == [4, 8]
        assert list(add.starmap([(1, 2)], wrap_returned_exceptions=False)) == [3]
        with pytest.raises(InvalidError, match=r"2 is an int, not the arguments.*use map"):
            list(add.starmap([(1, 2), 2]))


def test_no_inputs_no_values(controller: FakeController) -> None:
    with app.run():
        assert list(square.map([])) == []
    assert not controller.submitted


def test_the_first_exception_is_raised_and_ends_it(controller: FakeController) -> None:
    with app.run():
        values = odd_only.map([1, 3, 4, 5])
        assert [next(values), next(values)] == [1, 3]
        with pytest.raises(ValueError, match="4 is even"):
            next(values)
        with pytest.raises(StopIteration):
            next(values)


def test_or_exceptions_take_the_place_of_values(controller: FakeController) -> None:
    with app.run():
        one, two, three = odd_only.map([1, 2, 3], return_exceptions=True)
    assert (one, three) == (1, 3)
    assert isinstance(two, ValueError)


def test_inputs_are_taken_lazily_and_no_further_than_the_bound(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "MAX_OUTSTANDING", 10)
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    with app.run():
        values = square.map(endless())
        assert taken == 0
        for _ in range(25):
            next(values)
        assert 25 <= taken <= 25 + 11
        values.close()  # type: ignore[attr-defined]


def test_an_exception_of_the_input_iterator_is_raised(controller: FakeController) -> None:
    def inputs() -> Iterator[int]:
        yield 1
        raise OSError("the file ended")

    with app.run(), pytest.raises(OSError, match="the file ended"):
        list(square.map(inputs()))


def test_an_input_that_cannot_be_pickled_is_named(controller: FakeController) -> None:
    with app.run(), pytest.raises(SerializationError, match=r"square\(\), input 1, .*args\[0\]"):
        list(square.map([1, threading.Lock()]))


def test_what_cannot_be_iterated_is_named(controller: FakeController) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1

    with app.run():
        with pytest.raises(InvalidError, match=r"argument 1 is an int.*kwargs="):
            add.map([1], 2)
        with pytest.raises(InvalidError, match=r"use map\.aio"):
            square.map(numbers())
        with pytest.raises(InvalidError, match="at least one iterator"):
            square.map()


@pytest.mark.parametrize("kwargs", [3, 0, [1], "ab"])
def test_shared_arguments_that_are_no_dict_are_named(
    controller: FakeController, kwargs: Any
) -> None:
    with app.run():
        for run in (
            lambda: list(square.map([1], kwargs=kwargs)),
            lambda: list(square.starmap([(1,)], kwargs=kwargs)),
            lambda: square.for_each([1], kwargs=kwargs),
            lambda: square.spawn_map([1], kwargs=kwargs),
        ):
            with pytest.raises(InvalidError, match=r"kwargs= is an? \w+: give a dict"):
                run()


def test_a_map_that_is_dropped_is_warned_of_by_the_line_that_made_it(
    controller: FakeController,
) -> None:
    """As by `rekindle run`, whose own line drops what an entrypoint leaves."""
    drop = compile("made.clear()", "<ours>", "exec")
    with app.run(), pytest.warns(NeverIteratedWarning) as caught:
        made = [add.map([1], [2])]
        line = sys._getframe().f_lineno - 1
        exec(drop, {"made": made, "__name__": "rekindle.cli.execution"})
    (one,) = [one for one in caught if one.category is NeverIteratedWarning]
    assert (one.filename, one.lineno) == (__file__, line)


def test_a_map_that_is_never_iterated_warns(controller: FakeController) -> None:
    with app.run(), pytest.warns(UserWarning, match="never iterated"):
        square.map([1])
        gc.collect()


def test_for_each_drops_values(controller: FakeController) -> None:
    with app.run():
        square.for_each(range(5))
        odd_only.for_each([1, 2], ignore_exceptions=True)
        with pytest.raises(ValueError, match="even"):
            odd_only.for_each([1, 2])


def test_spawn_map_gives_one_call_for_all(controller: FakeController) -> None:
    with app.run():
        call = square.spawn_map(range(150))
        assert call.num_inputs() == 150
        assert call.get(index=149) == 149 * 149
        assert list(call.iter(start=3, end=6)) == [9, 16, 25]
        with pytest.raises(InvalidError, match="has 150 inputs; the first is 0"):
            call.get(index=150)


def test_spawn_map_of_nothing_is_a_call_without_inputs(controller: FakeController) -> None:
    with app.run():
        call = square.spawn_map([])
        assert call.num_inputs() == 0
        assert list(call.iter()) == []
        with pytest.raises(InvalidError, match="no inputs"):
            call.get()


def test_the_asyncio_forms(controller: FakeController) -> None:
    async def numbers() -> AsyncIterator[int]:
        for i in range(5):
            yield i

    async def collect(values: Any) -> list[Any]:
        return [value async for value in values]

    async def main() -> None:
        async with app.run():
            assert await collect(square.map.aio(numbers())) == [0, 1, 4, 9, 16]
            assert await collect(add.map.aio(numbers(), [10, 20])) == [10, 21]
            assert await collect(add.starmap.aio([(1, 1)])) == [2]
            assert sorted(await collect(square.map.aio([1, 2], order_outputs=False))) == [1, 4]
            await square.for_each.aio(numbers())
            call = await square.spawn_map.aio(numbers())
            assert [v async for v in call.iter.aio()] == [0, 1, 4, 9, 16]
            with pytest.raises(ValueError, match="even"):
                await collect(odd_only.map.aio([2]))

    asyncio.run(main())


def test_what_comes_behind_a_slow_input_takes_bounded_room(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results in order while the first is missing: those far behind are let go and come again."""
    monkeypatch.setattr(result_buffer, "MAX_BYTES", 20_000)
    held: list[int] = []
    add = result_buffer.ResultBuffer.add

    def spy(self: result_buffer.ResultBuffer, batch: list[tuple[int, bytes]]) -> None:
        add(self, batch)
        held.append(self._bytes)

    monkeypatch.setattr(result_buffer.ResultBuffer, "add", spy)
    first_may_end.clear()
    controller.batch = 8
    seen: list[int] = []

    def watch(result: pb.Result) -> None:
        seen.append(result.index)
        if len(seen) == 499:
            first_may_end.set()

    controller.edit = watch
    with app.run():
        assert list(first_waits.map(range(500))) == [bytes(1000)] * 500
    assert max(held) < 20_000 + 8 * 2000  # the bound and one message
    assert any(request.end_index for request in controller.asked)


def test_a_slow_caller_holds_the_reading_back(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_buffer, "MAX_BYTES", 20_000)
    controller.batch = 8
    first_may_end.set()
    for ordered in (True, False):
        with app.run():
            values = first_waits.map(range(300), order_outputs=ordered)
            assert next(values) == bytes(1000)
            assert list(values) == [bytes(1000)] * 299


def test_a_map_that_ends_early_cancels_the_rest(controller: FakeController) -> None:
    def calls() -> set[str]:
        return {request.call_id for request in controller.submitted}

    with app.run():
        # None of the two can have been answered as a whole: then there is nothing to cancel.
        values = odd_only.map(range(1, 10**9))
        with pytest.raises(ValueError, match="2 is even"):
            list(values)
        first = controller.submitted[0].call_id
        wait_until(lambda: controller.cancelled(first) is not None, "its cancellation")
        ended = calls()
        closed = square.map(range(10**9))
        assert next(closed) == 0
        closed.close()  # type: ignore[attr-defined]
        (of_closed,) = calls() - ended
        wait_until(lambda: controller.cancelled(of_closed) is not None, "its cancellation")
        ended = calls()
        whole = square.map(range(10))
        assert len(list(whole)) == 10
        (of_whole,) = calls() - ended
        assert controller.cancelled(of_whole) is None


def test_so_does_an_asynchronous_one(controller: FakeController) -> None:
    async def main() -> None:
        async with app.run():
            values = square.map.aio(range(10**9))
            assert await anext(values) == 0
            await values.aclose()  # type: ignore[attr-defined]
            call_id = controller.submitted[-1].call_id
            await asyncio.to_thread(
                wait_until, lambda: controller.cancelled(call_id) is not None, "its cancellation"
            )

    asyncio.run(main())


def test_two_maps_at_once(controller: FakeController) -> None:
    with app.run():
        pairs = list(zip(square.map(range(50)), square.map(range(50)), strict=True))
    assert pairs == [(x * x, x * x) for x in range(50)]
