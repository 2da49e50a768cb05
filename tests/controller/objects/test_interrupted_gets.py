"""A signal's exception at each place of a get where Python lets a handler run, one after the other:
no item is lost by it, and none is there twice."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from rekindle import Queue
from rekindle.exception import DeserializationError
from rekindle.sdk.objects import direct
from rekindle.sdk.objects.direct import Direct, Ways
from rekindle.sdk.objects.exchange import Exchange
from tests.controller.objects.values import NotHere
from tests.e2e.harness import wait_until
from tests.interrupts import at_all_places


@pytest.fixture
def q() -> Iterator[Queue]:
    with Queue.ephemeral() as made:
        yield made


@pytest.fixture(autouse=True)
def never_for_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis tells that it has done what reached it; no interrupted get waits out a limit."""
    monkeypatch.setattr(direct, "_DONE_S", 3600.0)


def at_all(
    take: Callable[[], object],
    put: Callable[[], object],
    look: Callable[[str], None],
    step: int = 1,
) -> set[str]:
    """Interrupt ``take`` at each of its places, or each ``step``-th, and ``look`` what is there
    then; in which files."""
    put()
    take()  # connected, and what is imported late is there
    places = at_all_places(take, look, before=put, step=step)
    return {one.partition(":")[0] for one in places}


def _not_by_redis(_self: Ways, _object_id: bytes) -> float:
    return time.monotonic()


BY = pytest.mark.parametrize("by", ["redis", "controller"])


@BY
@pytest.mark.parametrize("count", [1, 20])
def test_an_interrupt_at_any_line_of_a_get_leaves_its_items(
    q: Queue, by: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "controller":
        q.hydrate()
        monkeypatch.setattr(Ways, "find", _not_by_redis)

    def look(at: str) -> None:
        wait_until(lambda: q.len() >= count, f"the items to be back, interrupted at {at}")
        assert q.get_many(5000) == list(range(count)), at
        assert q.len() == 0, at

    def take() -> object:
        return q.get() if count == 1 else q.get_many(5000)

    files = at_all(take, lambda: q.put_many(range(count)), look)
    assert files >= {"steps.py", "link.py", "queue.py"}


@BY
def test_an_interrupt_at_any_line_of_a_get_that_leaves_some_leaves_all(
    q: Queue, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those behind one that cannot be unpickled here are put back by the get itself."""
    if by == "controller":
        q.hydrate()
        monkeypatch.setattr(Ways, "find", _not_by_redis)

    def clear() -> None:
        with pytest.raises(DeserializationError):
            q.get()
        assert q.get() == 3

    def look(at: str) -> None:
        wait_until(lambda: q.len() >= 3, f"the items to be back, interrupted at {at}")
        assert q.get() == 1, at
        clear()
        assert q.len() == 0, at

    def put() -> None:
        if q.len():
            clear()
        q.put_many([1, NotHere(), 3])

    at_all(lambda: q.get_many(9), put, look, step=7)


@BY
def test_an_interrupt_at_any_line_of_a_get_on_a_loop_leaves_its_item(
    q: Queue, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "controller":
        q.hydrate()
        monkeypatch.setattr(Ways, "find", _not_by_redis)

    got: list[object] = []

    async def one() -> None:
        got.append(await q.get.aio())

    async def two() -> None:
        """One whose exception ends the loop's run, and another: that is cancelled by it, or is done
        already, and its item is the program's."""
        got.clear()
        await asyncio.gather(one(), one())

    def look(at: str) -> None:
        there = "the items to be back, interrupted at"
        wait_until(lambda: q.len() + len(got) >= 2, f"{there} {at}")
        assert sorted([*q.get_many(9), *got]) == [1, 2], at
        assert q.len() == 0, at

    files = at_all(lambda: asyncio.run(two()), lambda: q.put_many([1, 2]), look)
    gc.collect()  # asyncio tells of errors of tasks that nobody has asked for: here, not later
    assert files >= {"steps.py", "aio_link.py", "queue.py"}


@BY
@pytest.mark.parametrize("error", [TimeoutError, ValueError])
def test_what_an_alarm_raises_ends_a_get_whatever_its_type(
    q: Queue, by: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An OSError is no broken connection where a signal's handler raised it."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise error("rung")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        if by == "redis":
            receive = Direct._receive

            def rung(self: Direct, exchange: Exchange) -> Any:
                monkeypatch.setattr(Direct, "_receive", receive)
                signal.raise_signal(signal.SIGALRM)

            q.len()
            q.put("kept")
            monkeypatch.setattr(Direct, "_receive", rung)
        with pytest.raises(error, match="rung"):
            if by == "controller":  # it waits there
                signal.setitimer(signal.ITIMER_REAL, 0.2)
            q.get()
    finally:
        signal.signal(signal.SIGALRM, before)
    if by == "controller":
        q.put("kept")
    assert q.get(timeout=60) == "kept"
