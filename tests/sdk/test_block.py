"""``async with`` of what a thread enters and leaves: who is cancelled leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType

import pytest

import rekindle
from rekindle.exception import ConnectionError, InvalidError
from rekindle.sdk import running
from rekindle.sdk.block import Block
from rekindle.sdk.local.session import Session
from tests.sdk.fake_controller import FakeController

PATIENCE_S = 60.0

app = rekindle.App("block")


@app.function()
def double(x: int) -> int:
    return x * 2


class Gated(Block[str]):
    """Enters and leaves when it is let to."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.enters, self.may_enter = threading.Event(), threading.Event()
        self.leaves, self.may_leave = threading.Event(), threading.Event()
        self.left_with: list[type[BaseException] | None] = []
        self._fails = fails

    def __enter__(self) -> str:
        self.enters.set()
        assert self.may_enter.wait(PATIENCE_S)
        if self._fails is not None:
            raise self._fails
        return "entered"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leaves.set()
        assert self.may_leave.wait(PATIENCE_S)
        self.left_with.append(kind)


async def used(block: Block[str]) -> None:
    async with block:
        pass


async def cancelled_at(event: threading.Event, task: asyncio.Task[None]) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE_S)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # and who is in a hurry
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def ends_cancelled(task: Awaitable[None]) -> BaseException | None:
    with pytest.raises(asyncio.CancelledError) as raised:
        await task
    return raised.value.__cause__


def test_who_is_cancelled_while_it_enters_leaves_what_was_entered() -> None:
    async def main() -> None:
        block = Gated()
        task = asyncio.create_task(used(block))
        await cancelled_at(block.enters, task)
        assert not task.done()
        block.may_leave.set()
        block.may_enter.set()
        assert await ends_cancelled(task) is None
        assert block.left_with == [asyncio.CancelledError]

    asyncio.run(main())


def test_what_fails_to_enter_meanwhile_is_not_left_and_says_why() -> None:
    async def main() -> None:
        failure = ConnectionError("it does not come up")
        block = Gated(failure)
        task = asyncio.create_task(used(block))
        await cancelled_at(block.enters, task)
        block.may_enter.set()
        assert await ends_cancelled(task) is failure
        assert not block.left_with

    asyncio.run(main())


def test_who_is_cancelled_while_it_leaves_has_left_when_it_goes_on() -> None:
    async def main() -> None:
        block = Gated()
        block.may_enter.set()
        task = asyncio.create_task(used(block))
        await cancelled_at(block.leaves, task)
        assert not task.done()
        block.may_leave.set()
        assert await ends_cancelled(task) is None
        assert block.left_with == [None]

    asyncio.run(main())


def test_a_loop_that_ends_leaves_what_its_tasks_were_just_entering() -> None:
    block = Gated()
    block.may_leave.set()

    async def until_the_loop_ends() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            block.may_enter.set()

    async def main() -> tuple[asyncio.Task[None], ...]:
        tasks = asyncio.create_task(used(block)), asyncio.create_task(until_the_loop_ends())
        assert await asyncio.to_thread(block.enters.wait, PATIENCE_S)
        return tasks

    assert all(task.cancelled() for task in asyncio.run(main()))
    assert block.left_with == [asyncio.CancelledError]


def test_an_app_whose_start_ran_out_of_time_does_not_run_and_can_be_run_again(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, comes_up = threading.Event(), threading.Event()
    wait: Callable[[Session], object] = Session.wait

    def slowly(self: Session) -> object:
        waits.set()
        assert comes_up.wait(PATIENCE_S)
        return wait(self)

    monkeypatch.setattr(Session, "wait", slowly)

    async def runs_out(limit: asyncio.Timeout) -> None:
        assert await asyncio.to_thread(waits.wait, PATIENCE_S)
        limit.reschedule(0)
        asyncio.get_running_loop().call_soon(comes_up.set)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit:
                expiry = asyncio.create_task(runs_out(limit))
                async with app.run():
                    raise AssertionError("it was cancelled")
        await expiry
        assert app.running is None and running.innermost_instance() is None
        assert len(controller.closed) == 1
        async with app.run():
            assert await double.remote.aio(2) == 4

    asyncio.run(main())


def test_ctrl_c_as_an_app_begins_to_run_leaves_it_to_be_run_again(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_made: running.RunningApp) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running, "started", interrupted)
        with pytest.raises(KeyboardInterrupt), app.run():
            raise AssertionError("it was interrupted")
    with app.run(), pytest.raises(InvalidError, match="running already"):
        app.run()
