"""What an event loop has to do between inputs is done while its runner waits for the next one."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rekindle.runtime.runner.cancelling import Canceller
from rekindle.runtime.runner.service import Service
from rekindle.wire.page import CANCEL_SIGNAL


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


async def begun(*coroutines: Any) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.ensure_future(one) for one in coroutines]
    await asyncio.sleep(0)
    return tasks


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service("s", {})
    yield made
    made.drop_loop()


def test_without_a_loop_whoever_reads_waits(pipe: tuple[int, int], service: Service) -> None:
    assert service.wait(pipe[0])
    assert not service.wait(pipe[0], 0.01)
    os.write(pipe[1], b"x")
    assert service.wait(pipe[0], 60)


def test_a_loop_that_rests_waits_as_long_as_asked(pipe: tuple[int, int], service: Service) -> None:
    service.settle(begun())
    assert not service.wait(pipe[0], 0.01)
    os.write(pipe[1], b"x")
    assert service.wait(pipe[0], 60)
    assert service.wait(pipe[0])


def test_a_loop_that_user_code_has_closed_is_none_and_the_next_coroutine_has_another(
    pipe: tuple[int, int], service: Service
) -> None:
    service.settle(begun())
    service.event_loop().close()
    assert not service.has_loop
    assert not service.wait(pipe[0], 0.01)
    assert service.wait(pipe[0])  # whoever reads waits
    service.settle(begun())
    assert service.has_loop and asyncio.get_event_loop() is service.event_loop()
    service.event_loop().close()
    os.write(pipe[1], b"x")
    assert service.wait(pipe[0], 60)


def test_a_timer_a_thread_and_a_descriptor_wake_tasks_while_it_waits(
    pipe: tuple[int, int], service: Service
) -> None:
    async def sleeper() -> None:
        await asyncio.sleep(0.01)
        os.write(pipe[1], b"t")

    async def threaded() -> None:
        await asyncio.to_thread(lambda: None)
        os.write(pipe[1], b"h")

    for one in (sleeper, threaded):
        service.settle(begun(one()))
        assert service.wait(pipe[0])
        assert os.read(pipe[0], 1) in b"th"

    woken, wake = os.pipe()
    loop = asyncio.get_event_loop_policy().get_event_loop()
    loop.add_reader(woken, lambda: os.write(pipe[1], os.read(woken, 1)))
    threading.Timer(0.01, os.write, (wake, b"d")).start()
    assert service.wait(pipe[0])
    assert os.read(pipe[0], 1) == b"d"
    loop.remove_reader(woken)
    os.close(woken)
    os.close(wake)


def test_tasks_have_their_turn_although_the_next_input_is_there(
    pipe: tuple[int, int], service: Service
) -> None:
    turns = []

    async def busy() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    (task,) = service.settle(begun(busy()))
    os.write(pipe[1], b"x")
    for _ in range(5):
        before = len(turns)
        assert service.wait(pipe[0])
        assert len(turns) > before

    async def end() -> None:
        task.cancel()
        await asyncio.wait([task])

    service.settle(end())


def test_a_cancellation_that_comes_while_a_task_is_made_leaves_no_task(
    service: Service, cancelled: tuple[Canceller, int]
) -> None:
    canceller, token = cancelled
    service.canceller = canceller
    loop = service.event_loop()
    ran, make = [], loop.create_task

    def make_and_be_cancelled(coroutine: Any) -> asyncio.Task[Any]:
        task = make(coroutine)
        signal.raise_signal(CANCEL_SIGNAL)
        return task

    async def first() -> None:
        ran.append("first")
        await asyncio.sleep(0)
        ran.append("beside another")

    async def second() -> None:
        await asyncio.sleep(0.01)
        ran.append("second")

    canceller.armed = token
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "create_task", make_and_be_cancelled)
        with pytest.raises(asyncio.CancelledError):
            service.settle(first())
    assert canceller.hit
    service.settle(second())
    assert ran[-1] == "second" and "beside another" not in ran


def test_a_cancellation_that_comes_when_its_function_has_ended_is_not_the_next_ones(
    service: Service, cancelled: tuple[Canceller, int]
) -> None:
    canceller, token = cancelled
    service.canceller = canceller
    loop = service.event_loop()
    run = loop.run_until_complete

    def run_and_be_cancelled(task: Any) -> Any:
        value = run(task)
        signal.raise_signal(CANCEL_SIGNAL)
        return value

    async def work() -> str:
        await asyncio.sleep(0.01)
        return "done"

    canceller.armed = token
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "run_until_complete", run_and_be_cancelled)
        assert service.settle(work()) == "done"
    assert canceller.hit
    assert service.settle(work()) == "done"


class Raises:
    """A standard error of user code's."""

    def write(self, _text: str) -> int:
        raise ValueError("of the stream")


@pytest.mark.parametrize("stream", [None, Raises()])
def test_what_a_task_raises_between_inputs_has_no_effect_whatever_standard_error_is(
    stream: object, pipe: tuple[int, int], service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exits() -> None:
        raise SystemExit(3)

    told = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "__stderr__", told)
    service.settle(begun())
    service.event_loop().call_later(0, exits)
    assert not service.wait(pipe[0], 0.01)
    assert told.getvalue().count("SystemExit: 3") == 1
    service.event_loop().call_soon(exits)
    service.park_loop()
    assert told.getvalue().count("SystemExit: 3") == 2
