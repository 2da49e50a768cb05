"""An interrupt of a deployment that a thread makes reaches it, whenever it comes."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from rekindle.exception import ExecutionError
from rekindle.sdk import interrupted_deploy
from rekindle.sdk.deploying import Deployed
from rekindle.sdk.interrupted_deploy import DeployAttempt
from rekindle.wire import rekindle_pb2 as pb


def test_what_was_interrupted_before_it_began_is_never_asked_for() -> None:
    attempt = DeployAttempt()
    assert not attempt.interrupt()
    with pytest.raises(ExecutionError, match="nothing was deployed"):
        attempt.begin(lambda: pytest.fail("it was asked for"))


def test_an_interrupt_by_a_signal_while_it_is_asked_for_cancels_the_request() -> None:
    attempt = DeployAttempt()
    asked: Future[pb.DeployReply] = Future()

    def start() -> Future[pb.DeployReply]:
        assert attempt.interrupt()
        return asked

    assert attempt.begin(start) is asked and asked.cancelled()


def test_a_task_that_is_cancelled_before_its_thread_asks_waits_for_nothing() -> None:
    begun, goes_on, came = threading.Event(), threading.Event(), threading.Event()

    def blocking() -> None:
        begun.set()
        assert goes_on.wait(30)
        try:
            attempt = interrupted_deploy._current.get()
            assert attempt is not None
            attempt.begin(lambda: pytest.fail("it was asked for"))
        except ExecutionError:
            came.set()
            raise

    async def cancel() -> None:
        task = asyncio.create_task(interrupted_deploy.in_thread(blocking, (), {}))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert caught.value.__notes__ == ["Interrupted: nothing was deployed"]
        goes_on.set()

    asyncio.run(cancel())  # waits for its threads
    assert came.is_set()


def test_a_task_that_is_cancelled_too_late_is_told_which_version_is_live() -> None:
    asked: Future[pb.DeployReply] = Future()
    asked.set_running_or_notify_cancel()  # as one whose reply is there
    begun = threading.Event()

    def blocking() -> Deployed:
        attempt = interrupted_deploy._current.get()
        assert attempt is not None
        attempt.begin(lambda: asked)
        begun.set()
        asked.result(30)
        return Deployed("app", "ap-1", 4, unchanged=False)

    async def cancel() -> None:
        task = asyncio.create_task(interrupted_deploy.in_thread(blocking, (), {}))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        await asyncio.sleep(0)
        asked.set_result(pb.DeployReply())
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        (note,) = caught.value.__notes__
        assert note.startswith("Interrupted, but app, version 4, was live by then")

    asyncio.run(cancel())
