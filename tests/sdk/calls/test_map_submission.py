"""How the inputs of a map travel: together, within bounds, and for as long as they are wanted."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

import rekindle
from rekindle.exception import (
    Error,
    InternalFailure,
    RequestSizeError,
    ResourceExhaustedError,
)
from rekindle.sdk.calls import submission, window
from rekindle.sdk.connection.background import background
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.blobs import FolderStore
from tests.e2e.harness import wait_until
from tests.sdk.fake_controller import FakeController

app = rekindle.App("submissions")


@app.function()
def square(x: int) -> int:
    return x * x


@app.function()
def doubled(x: bytes) -> bytes:
    return x + x


@app.function()
def size_of(x: bytes) -> int:
    return len(x)


def test_arguments_on_their_way_are_bounded_by_bytes(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "MAX_OUTSTANDING_BYTES", 10_000)
    taken = 0

    def large() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(1000)

    with app.run():
        values = size_of.map(large())
        for count in range(1, 30):
            assert next(values) == 1000
            assert taken <= count + 10
        values.close()  # type: ignore[attr-defined]


def test_inputs_travel_together_the_first_ones_few(controller: FakeController) -> None:
    with app.run():
        assert list(square.map(range(3000))) == [x * x for x in range(3000)]
    sizes = [len(request.inputs) for request in controller.submitted]
    assert sum(sizes) == 3000
    assert sizes[0] <= 64
    assert max(sizes) == 512
    assert len(sizes) < 20
    assert [request.last for request in controller.submitted] == [False] * (len(sizes) - 1) + [True]


def test_what_waits_after_the_first_request_travels_in_one(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    async def submit(request: pb.SubmitRequest, **_: bool) -> None:
        sizes.append(len(request.inputs))

    async def main() -> None:
        one = submission.Submission(
            size_of._target(), None, window.Window(threading.Event()), read_once=True
        )
        monkeypatch.setattr(one.target.client, "submit", submit)
        one._loop = asyncio.get_running_loop()
        for number in range(500):
            one.offer((number,))
        one.complete()
        await one.run()

    with app.run():
        background().run(main())
    assert sizes[:2] == [64, 436]


def test_large_inputs_keep_several_requests_on_their_way(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "BATCH_BYTES", 5000)
    sizes, now, most = [], 0, 0
    several = asyncio.Event()

    async def submit(request: pb.SubmitRequest, **_: bool) -> None:
        nonlocal now, most
        sizes.append(len(request.inputs))
        now += 1
        most = max(most, now)
        if now == 3:
            several.set()
        await asyncio.wait_for(several.wait(), 60)
        for _ in range(10):  # one more would begin meanwhile
            await asyncio.sleep(0)
        now -= 1

    async def main() -> None:
        one = submission.Submission(
            size_of._target(), None, window.Window(threading.Event()), read_once=True
        )
        monkeypatch.setattr(one.target.client, "submit", submit)
        running = asyncio.ensure_future(one.run())
        for count in range(200):
            one.offer((bytes(1000),))
            if count % 10 == 0:
                await asyncio.sleep(0)
        one._loop = asyncio.get_running_loop()
        one.complete()
        await running

    with app.run():
        background().run(main())
    assert sum(sizes) == 200
    assert max(sizes) == 4
    assert most == 3


def test_a_slow_iterator_is_not_waited_for(controller: FakeController) -> None:
    """An input is on its way as soon as it is there, however few there are."""
    got = threading.Semaphore(0)

    def answered() -> Iterator[int]:
        for i in range(5):
            yield i
            assert got.acquire(timeout=60)  # the next one is made from the answer to this one

    with app.run():
        values = []
        for value in square.map(answered()):
            values.append(value)
            got.release()
    assert values == [0, 1, 4, 9, 16]


def test_a_controller_that_is_full_is_waited_for(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it has no room for is sent in smaller pieces."""
    monkeypatch.setattr(submission, "WARN_AFTER_S", 0.0)
    monkeypatch.setattr(submission, "_LONGEST_WAIT_S", 0.01)

    def refuse(request: pb.SubmitRequest) -> Error | None:
        if len(request.inputs) > 10:
            return ResourceExhaustedError("a queue holds 10 inputs (REKINDLE_MAX_PENDING)")
        return None

    controller.refuse = refuse
    with app.run():
        with pytest.warns(UserWarning, match=r"square.*wait on: .*REKINDLE_MAX_PENDING"):
            assert list(square.map(range(200))) == [x * x for x in range(200)]
        with pytest.warns(UserWarning, match="REKINDLE_MAX_PENDING"):
            assert square.spawn_map(range(100)).get(index=99) == 99 * 99
        controller.refuse = lambda _: ResourceExhaustedError("full (REKINDLE_MAX_PENDING)")
        with pytest.raises(ResourceExhaustedError, match="REKINDLE_MAX_PENDING"):
            square.spawn(1)
        controller.refuse = lambda _: RequestSizeError("too large")
        with pytest.raises(RequestSizeError):
            list(square.map([1]))


def test_spawn_map_takes_its_inputs_as_they_are_accepted(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "MAX_OUTSTANDING", 100)
    accepted, most = 0, 0

    def count(request: pb.SubmitRequest) -> None:
        nonlocal accepted
        accepted += len(request.inputs)

    def inputs() -> Iterator[int]:
        nonlocal most
        for i in range(5000):
            most = max(most, i - accepted)
            yield i

    controller.refuse = count
    with app.run():
        call = square.spawn_map(inputs())
        assert call.num_inputs() == 5000 == accepted
    assert most <= 101


def test_a_spawn_map_whose_iterator_fails_is_cancelled(controller: FakeController) -> None:
    def inputs() -> Iterator[int]:
        yield from range(5000)
        # Before that there is nothing to cancel.
        wait_until(lambda: controller.submitted, "the first inputs")
        raise OSError("the file ended")

    with app.run():
        with pytest.raises(OSError, match="the file ended"):
            square.spawn_map(inputs())
        assert controller.cancelled(controller.submitted[0].call_id) is not None


def test_what_a_task_was_told_is_not_told_again_by_its_loop(
    controller: FakeController, tmp_path: Path
) -> None:
    controller.blob_url, controller.blob_threshold_bytes = f"file://{tmp_path}/blobs", 1000
    controller.edit = lambda result: FolderStore(tmp_path / "blobs").delete(result.blob)
    told: list[str] = []

    async def refused() -> None:
        controller.refuse = lambda _request: RequestSizeError("too large, says the controller")
        with pytest.raises(RequestSizeError, match="says the controller"):
            await square.spawn_map.aio([1])
        controller.refuse = None

    async def gone() -> None:
        with pytest.raises(InternalFailure, match="is not in file://"):
            async for _ in doubled.map.aio([b"x" * 2000]):
                raise AssertionError("its value is gone")

    async def main(use: Callable[[], Awaitable[None]]) -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: told.append(str(context["message"]))
        )
        await use()
        gc.collect()
        await asyncio.sleep(0)

    with app.run():
        for use in (refused, gone):
            asyncio.run(main(use))
    assert told == []
