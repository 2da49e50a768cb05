"""When a batch begins, what it is, and what comes of its items."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rekindle.exception import InvalidError
from rekindle.execution import nesting
from rekindle.runtime.runner.many import batches
from rekindle.runtime.runner.many.batches import Batches
from rekindle.runtime.runner.many.prints import Prints
from rekindle.runtime.runner.many.run import Run
from rekindle.runtime.runner.service import Service
from rekindle.wire.page import RunnerPage


class Clock:
    """Stands in for ``time``."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Intake:
    """Gives what is to come, each at its time, and ends when all of it was answered."""

    def __init__(self, clock: Clock, page: RunnerPage) -> None:
        self.page = page
        self.clock = clock
        self.coming: list[tuple[float, Run]] = []
        self.answered: list[Run] = []
        self.take: Callable[[Run], None] = lambda run: None
        self.count = 0
        self.fd = os.open("/dev/null", os.O_RDONLY)

    @property
    def stopped(self) -> bool:
        return len(self.answered) == self.count

    def what(self, method: str) -> str:
        return method or "f"

    def fileno(self) -> int:
        return self.fd

    def item(self, at: float, *args: Any, **kwargs: Any) -> Run:
        def load() -> Any:
            return args, kwargs

        run = Run(self.count, f"fc-{self.count}", 0, "", 0, load, self, Prints("fc"), 0)
        self.coming.append((100.0 + at, run))
        self.count += 1
        return run

    def pump(self) -> None:
        while self.coming and self.coming[0][0] <= self.clock.now:
            self.take(self.coming.pop(0)[1])

    def answer(self, runs: list[Run]) -> None:
        self.answered += runs

    def send(self, *_: Any) -> None: ...


class Waits(Service):
    """Its wait is over when something comes, or the time."""

    intake: Intake

    def wait(self, fd: int, timeout_s: float | None = None) -> bool:
        clock, coming = self.intake.clock, self.intake.coming
        assert timeout_s is not None
        next_at = coming[0][0] if coming else float("inf")
        came = next_at <= clock.now + timeout_s
        clock.now = max(clock.now, next_at) if came else clock.now + timeout_s
        return came


Play = Callable[..., tuple[Intake, list[tuple[float, list[Any]]], Batches]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """A batcher of a function that notes when it was called, with what."""
    clock, page = Clock(), RunnerPage.create()
    monkeypatch.setattr(batches, "time", clock)
    intake = Intake(clock, page)

    def make(most: int, wait_s: float, takes_s: float = 0.0, made: Any = None) -> Any:
        calls: list[tuple[float, list[Any]]] = []

        def f(xs: list[Any]) -> Any:
            calls.append((round(clock.now - 100.0, 2), xs))
            clock.now += takes_s
            return xs if made is None else made(xs)

        service = Waits("f", {"": f})
        service.intake = intake
        batcher = Batches(service, intake, most, wait_s)  # type: ignore[arg-type]
        intake.take = batcher.take
        return intake, calls, batcher

    yield make
    nesting.detach()  # the batches ran in this process
    page.close()
    os.close(intake.fd)


def test_a_full_batch_begins_at_once(play: Play) -> None:
    intake, calls, batcher = play(3, 50.0)
    for x in range(3):
        intake.item(1.0 + x, x)
    batcher.serve()
    assert calls == [(3.0, [0, 1, 2])]


def test_the_oldest_item_waits_no_longer_than_it_may(play: Play) -> None:
    intake, calls, batcher = play(10, 5.0)
    for at, x in ((1.0, "a"), (3.0, "b"), (5.5, "c"), (6.5, "d")):
        intake.item(at, x)
    batcher.serve()
    assert calls == [(6.0, ["a", "b", "c"]), (11.5, ["d"])]


def test_what_came_while_a_batch_ran_counts_from_its_begin(play: Play) -> None:
    intake, calls, batcher = play(2, 5.0, takes_s=4.0)
    for at, x in ((1.0, "a"), (1.0, "b"), (2.0, "c")):
        intake.item(at, x)
    batcher.serve()
    assert calls == [(1.0, ["a", "b"]), (6.0, ["c"])]


def test_without_a_wait_a_batch_is_what_is_there(play: Play) -> None:
    intake, calls, batcher = play(2, 0.0)
    for at, x in ((1.0, "a"), (1.0, "b"), (1.0, "c"), (2.0, "d")):
        intake.item(at, x)
    batcher.serve()
    assert calls == [(1.0, ["a", "b"]), (1.0, ["c"]), (2.0, ["d"])]


def test_each_item_has_its_own_value_or_its_own_wrong_arguments(play: Play) -> None:
    intake, calls, batcher = play(3, 1.0)
    runs = [intake.item(1.0, "a"), intake.item(1.0, "b", "c"), intake.item(1.0, xs="d")]
    batcher.serve()
    assert calls == [(1.0, ["a", "d"])]
    assert [run.value for run in runs] == ["a", None, "d"]
    assert [type(run.failure) for run in runs] == [type(None), TypeError, type(None)]


@pytest.mark.parametrize("made", [lambda xs: xs[:1], lambda xs: tuple(xs), lambda xs: 1 / 0])
def test_what_is_no_list_of_that_length_fails_all(play: Play, made: Any) -> None:
    intake, _calls, batcher = play(2, 1.0, made=made)
    runs = [intake.item(1.0, x) for x in "ab"]
    batcher.serve()
    assert all(run.failure is not None and run.value is None for run in runs)
    assert runs[0].failure is runs[1].failure


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda xs, ys=1: xs, "'ys' has a default"),
        (lambda *xs: xs, "takes \\*xs"),
        (lambda: None, "no parameter for items"),
    ],
)
def test_a_function_that_no_batch_fits_says_so_to_each_caller(
    play: Play, function: Any, words: str
) -> None:
    intake, _calls, _ = play(2, 1.0)
    batcher = Batches(Waits("f", {"": function}), intake, 2, 1.0)  # type: ignore[arg-type]
    batcher._service.intake, intake.take = intake, batcher.take  # type: ignore[attr-defined]
    run = intake.item(1.0, 3)
    batcher.serve()
    with pytest.raises(InvalidError, match=rf"with_batching\(\) is of f, .*{words}"):
        raise run.failure
