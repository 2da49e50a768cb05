"""Work on the background thread that is cancelled, also where a signal's exception comes by."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from rekindle.sdk.connection.background import Background
from tests.e2e.harness import wait_until
from tests.interrupts import at_all_places


@pytest.fixture
def thread() -> Iterator[Background]:
    one = Background()
    one.begin()
    yield one
    one.close()
    one.loop.close()


class Waiting:
    """What is to be cancelled."""

    def __init__(self) -> None:
        self.begun, self.over = threading.Event(), threading.Event()

    async def run(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.over.set()


def test_what_is_cancelled_ends_on_its_thread(thread: Background) -> None:
    one = Waiting()
    asked = thread.start(one.run())
    assert one.begun.wait(60)
    assert asked.cancel()
    with pytest.raises(CancelledError):
        asked.result(60)
    assert one.over.wait(60)


def test_what_is_over_is_not_cancelled(thread: Background) -> None:
    async def one() -> int:
        return 1

    asked = thread.start(one())
    assert asked.result(60) == 1
    assert not asked.cancel()


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_what_a_signals_handler_raises_in_a_cancellation_comes_out_and_hinders_it_not(
    thread: Background, error: type[BaseException]
) -> None:
    """A callback of a future that runs here would have it logged and dropped."""
    begun: list[Waiting] = []
    not_cancelled: list[str] = []

    def cancelled() -> None:
        begun.append(one := Waiting())
        asked = thread.start(one.run())
        try:
            assert one.begun.wait(60)
        finally:
            asked.cancel()

    def ended(at: str) -> None:
        one = begun.pop()
        if "in cancel" in at or "of cancel" in at:
            not_cancelled.append(at)  # it may have come before that
        elif one.begun.is_set():
            assert one.over.wait(60), at

    places = at_all_places(cancelled, ended, error=error, within={"work.py", "background.py"})
    assert {one.partition(":")[0] for one in places} == {"work.py", "background.py"}
    wait_until(lambda: len(thread._running) <= len(not_cancelled), "cancelled work to end")
