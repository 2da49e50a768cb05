"""How deep a call is inside of others, and what a runner's page says of its waits."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from rekindle.exception import CallDepthError, InvalidError
from rekindle.execution import nesting
from rekindle.wire import calldepth
from rekindle.wire.page import RunnerPage

T = TypeVar("T")


@pytest.fixture
def page() -> Iterator[RunnerPage]:
    """The page of a runner that this process plays."""
    made = RunnerPage.create()
    nesting.attach(made)
    yield made
    nesting.begin(-1)
    nesting.detach()
    nesting._here.set(None)
    made.close()


def test_a_program_calls_at_depth_0_and_waits_for_nobody_to_see() -> None:
    assert nesting.depth_of_calls("f") == 0
    with nesting.waiting():
        assert nesting.depth_of_calls("f") == 0


def test_what_waits_is_in_the_page_with_its_depth_until_it_ends(page: RunnerPage) -> None:
    nesting.begin(3)
    assert nesting.depth_of_calls("f") == 4
    assert page.waits_at == -1
    with nesting.waiting():
        assert page.waits_at == 3
        with nesting.waiting():
            assert page.waits_at == 3
        assert page.waits_at == 3
    assert page.waits_at == -1
    with pytest.raises(ZeroDivisionError), nesting.waiting():
        raise ZeroDivisionError
    assert page.waits_at == -1


def test_the_wait_of_a_thread_that_was_left_behind_is_not_the_next_inputs(
    page: RunnerPage,
) -> None:
    nesting.begin(0)
    waits, go_on = threading.Event(), threading.Event()

    def left_behind() -> None:
        with nesting.waiting():
            waits.set()
            go_on.wait()

    thread = threading.Thread(target=left_behind)
    thread.start()
    waits.wait()
    assert page.waits_at == 0
    nesting.begin(2)
    assert page.waits_at == -1
    with nesting.waiting():
        go_on.set()
        thread.join()
        assert page.waits_at == 2


def test_threads_that_wait_in_turn_leave_the_page_as_it_was(page: RunnerPage) -> None:
    nesting.begin(1)

    def wait() -> None:
        for _ in range(2000):
            with nesting.waiting():
                pass

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert page.waits_at == -1


def in_thread(act: Callable[[], T]) -> T:
    """What it gives in a thread that has no context of an input."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(act).result()


def test_a_thread_of_inputs_side_by_side_calls_at_the_depth_of_the_deepest(
    page: RunnerPage,
) -> None:
    first = nesting.begin_beside(3)
    assert in_thread(lambda: nesting.depth_of_calls("f")) == 4
    second = nesting.begin_beside(calldepth.DEFAULT_MAX_DEPTH)
    with pytest.raises(CallDepthError):
        in_thread(lambda: nesting.depth_of_calls("f"))
    nesting.end_beside(second)
    nesting.end_beside(first)
    assert in_thread(lambda: nesting.depth_of_calls("f")) == 0


def test_the_wait_of_such_a_thread_is_of_the_only_input_or_of_each_that_runs(
    page: RunnerPage,
) -> None:
    def wait() -> int:
        with nesting.waiting():
            return page.waits_at

    only = nesting.begin_beside(3)
    assert in_thread(wait) == 3
    assert page.waits_at == -1 and only.called
    other = nesting.begin_beside(2)
    assert in_thread(wait) == 2
    assert page.waits_at == -1 and other.called
    with nesting.waiting():  # of the other one, which began here
        assert page.waits_at == -1
        assert in_thread(wait) == 2
        assert page.waits_at == -1
    nesting.end_beside(other)
    nesting.end_beside(only)
    assert in_thread(wait) == -1


def test_a_forked_child_leaves_the_page_alone(page: RunnerPage) -> None:
    nesting.begin(0)
    with nesting.waiting():
        if (child := os.fork()) == 0:
            with nesting.waiting():
                pass
            os._exit(0)
        os.waitpid(child, 0)
        assert page.waits_at == 0


def test_a_call_that_is_too_deep_is_an_error_that_says_how_to_go_deeper(
    page: RunnerPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    nesting.begin(calldepth.DEFAULT_MAX_DEPTH - 1)
    assert nesting.depth_of_calls("f") == calldepth.DEFAULT_MAX_DEPTH
    nesting.begin(calldepth.DEFAULT_MAX_DEPTH)
    with pytest.raises(CallDepthError, match=r"^f is called inside of 65.*REKINDLE_MAX_CALL_DEPTH"):
        nesting.depth_of_calls("f")
    monkeypatch.setenv("REKINDLE_MAX_CALL_DEPTH", "100")
    assert nesting.depth_of_calls("f") == 65


@pytest.mark.parametrize("text", ["0", "101", "-1", "many", "1.5"])
def test_a_limit_that_is_none_is_named(text: str) -> None:
    with pytest.raises(InvalidError, match="REKINDLE_MAX_CALL_DEPTH"):
        calldepth.max_depth({"REKINDLE_MAX_CALL_DEPTH": text})
