"""How what nobody has is put back: by how many threads, and for how long."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from rekindle.exception import ConnectionError, NotFoundError, ServiceError
from rekindle.sdk.objects import giving_back
from rekindle.sdk.objects.giving_back import GivingBack, Owed
from rekindle.wire.object_frames import Op, Request

WAIT_S = 60


def owed(number: int) -> Owed:
    return Owed(b"qu-a", b"s" * 16, number, Request(Op.QUEUE_RETURN))


class Server:
    """Takes what comes, once it is ``open``; fails as it is told to, before."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.asked: list[int] = []
        self.at_a_time = self.most = 0
        self.all = threading.Semaphore(0)

    def ask(self, one: Owed, _since: float) -> None:
        self.at_a_time += 1
        self.most = max(self.most, self.at_a_time)
        assert self.open.wait(WAIT_S)
        self.asked.append(one.number)
        self.at_a_time -= 1
        self.all.release()

    def wait_for(self, number: int) -> None:
        for _ in range(number):
            assert self.all.acquire(timeout=WAIT_S)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the program is told."""
    texts: list[str] = []
    monkeypatch.setattr(giving_back.notes, "write_note", texts.append)
    return texts


Threads = Callable[[], list[threading.Thread]]
Idle = Callable[[], None]


@pytest.fixture
def threads() -> Threads:
    """That put back for the test; those that were there before are others'."""
    others = set(threading.enumerate())

    def here() -> list[threading.Thread]:
        began = set(threading.enumerate()) - others
        return [one for one in began if one.name == "rekindle-giving-back"]

    return here


@pytest.fixture
def until_idle(threads: Threads) -> Idle:
    def wait() -> None:
        for one in threads():
            one.join(WAIT_S)
            assert not one.is_alive()

    return wait


def test_a_thousand_are_put_back_by_one_thread_in_their_order(
    threads: Threads, until_idle: Idle
) -> None:
    server = Server()
    giving = GivingBack(server.ask)
    for number in range(1000):
        giving.give(owed(number), ConnectionError("away"), blocks=False)
    assert len(threads()) == 1
    server.open.set()
    server.wait_for(1000)
    assert server.asked == list(range(1000)) and server.most == 1
    until_idle()
    giving.give(owed(1000), ConnectionError("away"), blocks=False)  # by another thread
    server.wait_for(1)
    assert server.asked[-1] == 1000
    until_idle()


def test_what_an_interrupted_program_waits_for_does_not_stand_behind_what_it_does_not(
    until_idle: Idle,
) -> None:
    held, open_ = Server(), Server()
    open_.open.set()
    told, interrupted = ConnectionError("away"), KeyboardInterrupt()
    by_number: dict[int, Callable[[Owed, float], None]] = {1: held.ask, 2: open_.ask}
    giving = GivingBack(lambda one, since: by_number[one.number](one, since))
    giving.give(owed(1), told, blocks=True)
    giving.give(owed(2), interrupted, blocks=True)
    open_.wait_for(1)
    assert not held.asked
    held.open.set()
    until_idle()
    assert held.asked == [1]


def test_those_whose_time_is_over_are_given_up_with_the_one_that_was_tried(
    monkeypatch: pytest.MonkeyPatch, said: list[str], until_idle: Idle
) -> None:
    monkeypatch.setenv("REKINDLE_CONNECT_TIMEOUT_S", "0")
    tried: list[int] = []
    all_there = threading.Event()

    def ask(one: Owed, _since: float) -> None:
        assert all_there.wait(WAIT_S)
        tried.append(one.number)
        raise ServiceError("Redis is away")

    giving = GivingBack(ask)
    for number in range(5):
        giving.give(owed(number), ConnectionError("away"), blocks=False)
    all_there.set()
    until_idle()
    assert tried == [0]
    assert len(said) == 1 and "5 interrupted" in said[0] and "Redis is away" in said[0]


def test_what_is_in_time_is_tried_though_the_one_before_it_was_given_up(
    said: list[str], until_idle: Idle
) -> None:
    tried: list[int] = []

    def ask(one: Owed, _since: float) -> None:
        tried.append(one.number)
        if one.number == 0:
            raise ConnectionError("away")

    giving = GivingBack(ask)
    giving.give(owed(0), KeyboardInterrupt(), blocks=True)
    giving.give(owed(1), KeyboardInterrupt(), blocks=True)
    until_idle()
    assert tried == [0, 1]
    assert len(said) == 1 and "an interrupted get()" in said[0]


def test_redis_is_asked_again_until_it_is_back_and_of_a_deleted_queue_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, said: list[str], until_idle: Idle
) -> None:
    monkeypatch.setattr(giving_back, "_AGAIN_S", 0.0)
    answers: list[Exception | None] = [ServiceError("away"), None, NotFoundError("deleted")]

    def ask(_one: Owed, _since: float) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    giving = GivingBack(ask)
    giving.give(owed(0), KeyboardInterrupt(), blocks=True)
    giving.give(owed(1), KeyboardInterrupt(), blocks=True)
    until_idle()
    assert not answers and not said
