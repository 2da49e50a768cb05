"""The threads of inputs side by side, also where the system gives no more of them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rekindle.runtime.runner.many.concurrent import _Threads


@contextmanager
def no_more_threads() -> Iterator[None]:
    """The system refuses stacks of this size."""
    before = threading.stack_size(1 << 60)
    try:
        yield
    finally:
        threading.stack_size(before)


class Job:
    """One that goes on until it is told to end."""

    def __init__(self) -> None:
        self.began, self._go_on = threading.Event(), threading.Event()
        self.thread = ""

    def __call__(self) -> None:
        self.thread = threading.current_thread().name
        self.began.set()
        assert self._go_on.wait(60)

    def end(self) -> None:
        assert self.began.wait(60)
        self._go_on.set()


def is_free(threads: _Threads, count: int) -> bool:
    """Whether so many have no job. They say so after a job's own end."""
    with threads._lock:
        return threads._idle == count


def until_free(threads: _Threads, count: int) -> None:
    while not is_free(threads, count):
        threading.Event().wait(0.001)


def ended_side_by_side(threads: _Threads, count: int) -> list[Job]:
    """So many jobs, none of which ended before all had begun."""
    jobs = [Job() for _ in range(count)]
    for job in jobs:
        threads.run(job)
    for job in jobs:
        assert job.began.wait(60)
    for job in jobs:
        job.end()
    return jobs


def test_each_job_has_a_thread_at_once_and_the_next_ones_have_those_that_are_free() -> None:
    threads = _Threads()
    first = [Job(), Job()]
    for job in first:
        threads.run(job)
    for job in first:
        job.end()
    until_free(threads, 2)
    second = ended_side_by_side(threads, 3)
    assert {job.thread for job in first} < {job.thread for job in second}
    until_free(threads, 3)


def test_where_there_can_be_no_other_thread_those_that_are_there_take_all_jobs() -> None:
    threads = _Threads()
    first, waiting = Job(), [Job() for _ in range(3)]
    threads.run(first)
    with no_more_threads():
        for job in waiting:
            threads.run(job)
    assert is_free(threads, -3)
    first.end()
    for job in waiting:
        job.end()
    assert {job.thread for job in waiting} == {first.thread}
    until_free(threads, 1)
    ended_side_by_side(threads, 2)  # nobody stands in line for a thread that is not there
    until_free(threads, 2)


def test_where_there_can_be_none_at_all_it_is_an_error_and_nothing_stays() -> None:
    threads = _Threads()
    done: queue.SimpleQueue[str] = queue.SimpleQueue()
    with no_more_threads(), pytest.raises(RuntimeError, match="can't start new thread"):
        threads.run(lambda: done.put("refused"))
    threads.run(lambda: done.put("taken"))
    assert done.get(timeout=60) == "taken"
    until_free(threads, 1)
    assert done.empty()
