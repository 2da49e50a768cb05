"""Calls that a signal's exception ends, at each place of ours where Python lets a handler run, of a
program that goes on: what it calls next has its own answer, and nothing of the former is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import rekindle
from rekindle.exception import NeverIteratedWarning
from rekindle.sdk.calls import leases
from rekindle.sdk.connection import background
from rekindle.wire.usercode import came_by_signal
from tests import threads
from tests.e2e.harness import wait_until
from tests.interrupts import at_all_places
from tests.sdk import fake_lender
from tests.sdk.fake_controller import FakeController
from tests.sdk.fake_lender import Lender

app = rekindle.App("interrupted-calls")
numbers = iter(range(1_000_000))


@app.function()
def double(number: int) -> int:
    return 2 * number


def called() -> None:
    number = next(numbers)
    assert double.remote(number) == 2 * number


def spawned() -> None:
    number = next(numbers)
    assert double.spawn(number).get(timeout=60) == 2 * number


def mapped() -> None:
    first = next(numbers)
    assert list(double.map([first, first + 1])) == [2 * first, 2 * first + 2]


def spawned_map() -> None:
    first = next(numbers)
    assert list(double.spawn_map([first, first + 1]).iter()) == [2 * first, 2 * first + 2]


# An iterator, or a coroutine, that was made just then.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings(f"ignore::{NeverIteratedWarning.__module__}.NeverIteratedWarning"),
]
ERRORS = pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])


@ERRORS
@pytest.mark.parametrize(
    ("act", "files"),
    [
        (called, {"invoke.py", "background.py"}),
        (spawned, {"invoke.py", "function_call.py"}),
        (mapped, {"mapping.py", "result_reader.py", "result_buffer.py"}),
        (spawned_map, {"submission.py", "function_call.py"}),
    ],
)
def test_after_an_interrupt_the_next_call_is_its_own_and_nothing_of_the_former_goes_on(
    controller: FakeController,
    error: type[BaseException],
    act: Callable[[], None],
    files: set[str],
) -> None:
    with app.run():
        act()
        before, waited = threads.ours(), set(background.background()._running)
        places = at_all_places(act, lambda _: act(), error=error)
        assert {one.partition(":")[0] for one in places} >= files
        threads.until_no_more_than(before)
        left = background.background()._running
        wait_until(lambda: left <= waited, "nothing to go on", state=lambda: left)


@ERRORS
def test_after_an_interrupt_of_a_direct_call_the_next_has_its_own_answer(
    lender: Lender, error: type[BaseException]
) -> None:
    def called_directly(_at: str = "") -> None:
        number = next(numbers)
        assert fake_lender.add.remote(number, number) == 2 * number

    with fake_lender.app.run():
        called_directly()
        places = at_all_places(called_directly, called_directly, error=error)
        assert not leases._asking
    files = {one.partition(":")[0] for one in places}
    assert files >= {"invoke.py", "lease.py", "arrivals.py", "direct_frames.py"}
    assert not lender.submitted  # none was made again because the alarm was taken for a lost runner


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """What came by a signal and reached where values are unpickled."""
    seen: list[BaseException] = []

    def noted(error: BaseException) -> bool:
        if by_signal := came_by_signal(error):
            seen.append(error)
        return by_signal

    monkeypatch.setattr("rekindle.sdk.calls.mapping.came_by_signal", noted)
    yield seen


def test_what_an_alarm_raises_is_no_value_of_a_map(
    controller: FakeController, rings: list[BaseException]
) -> None:
    """Where exceptions are to come as values."""
    values: list[Any] = []

    def taken() -> None:
        values[:] = double.map([1, 2], return_exceptions=True)

    def look(at: str) -> None:
        assert not any(isinstance(value, TimeoutError) for value in values), at

    with app.run():
        taken()
        at_all_places(taken, look, error=TimeoutError, within={"serialization.py", "outcome.py"})
    assert rings
