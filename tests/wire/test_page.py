"""The page that a runner and its agent share, and the records in it."""

from __future__ import annotations

import os

from rekindle.wire import finished
from rekindle.wire.finished import Ending
from rekindle.wire.page import AREA_BYTES, RunnerPage, cancel_token


def test_one_side_reads_what_the_other_wrote() -> None:
    agent = RunnerPage.create()
    runner = RunnerPage.attach(os.dup(agent.fd))
    try:
        assert (agent.began_ns, agent.done, agent.call_id) == (0, 0, "")
        runner.call("fc-1")
        runner.begin(7, 1000)
        assert (agent.call_id, agent.index, agent.began_ns) == ("fc-1", 7, 1000)
        runner.fail()
        runner.end(1000, 1500)
        assert (agent.began_ns, agent.done, agent.failed, agent.busy_ns) == (0, 1, 1, 500)
        agent.recall(3)
        agent.cancel(cancel_token(3, 7))
        agent.draining(True)
        agent.drained(12)
        runner.hear(runner.cancelled)
        assert agent.heard == cancel_token(3, 7)
        assert runner.recalled == 3 and runner.cancelled == cancel_token(3, 7)
        assert runner.output == (True, 12)
    finally:
        agent.close()
        runner.close()


def test_records_are_read_back_as_they_were_kept() -> None:
    page = RunnerPage.create()
    try:
        page.begin_slice(7)
        for number, (ending, data) in enumerate(
            [(Ending.RETURNED, b"value"), (Ending.RAISED, b""), (Ending.CANCELLED, b"x" * 1000)]
        ):
            record = finished.head(number, ending, 1, 2, 3, len(data)) + data
            page.begin(number, 1)
            assert page.finish(record, 1, 3)
            assert page.began_ns == 0
        assert (page.done, page.busy_ns) == (3, 6)
        of_slice, data = page.unsent()
        assert of_slice == 7
        records = list(finished.read(data))
        assert [record.number for record in records] == [0, 1, 2]
        assert [len(record.data) for record in records] == [5, 0, 1000]
        assert records[0] == finished.Finished(0, Ending.RETURNED, 1, 2, 3, b"value")
        assert bytes(page.kept()) == data
        page.sent()
        assert page.unsent() == (7, b"")
    finally:
        page.close()


def test_a_record_that_does_not_fit_leaves_the_others_whole() -> None:
    page = RunnerPage.create()
    try:
        assert page.finish(b"a" * (AREA_BYTES - 10), 1, 3)
        before = page.unsent()
        page.begin(7, 10)
        assert not page.finish(bytes(11), 10, 12)
        assert page.unsent() == before
        assert (page.began_ns, page.done, page.busy_ns) == (10, 1, 2)
        assert page.finish(bytes(10), 10, 12)
    finally:
        page.close()


def test_a_failure_carries_its_description_and_the_exception() -> None:
    data = finished.failure({"message": "no such thing"}, b"pickle")
    assert finished.read_failure(data) == ({"message": "no such thing"}, b"pickle")


def test_tokens_of_runs_are_never_zero_and_never_equal() -> None:
    tokens = {cancel_token(number, index) for number in range(50) for index in range(50)}
    assert len(tokens) == 2500 and 0 not in tokens
