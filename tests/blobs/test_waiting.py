"""Asking a store for several things, for no longer than somebody waits."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from rekindle.blobs import waiting
from rekindle.exception import BlobStoreError, InvalidError


def test_all_answers_come_however_many_are_asked_for_at_once() -> None:
    found = waiting.ask_all(lambda n: n * n, range(50), url="s", at_once=3, seconds=60)
    assert sorted(found) == [n * n for n in range(50)]
    assert waiting.ask_all(str, [], url="s", at_once=3, seconds=60) == []


def test_why_one_has_no_answer_is_raised() -> None:
    def ask(number: int) -> int:
        if number == 7:
            raise BlobStoreError("the seventh")
        return number

    with pytest.raises(BlobStoreError, match="the seventh"):
        waiting.ask_all(ask, range(9), url="s", at_once=2, seconds=60)


def test_who_waits_for_a_store_that_says_nothing_is_told_and_then_has_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "_SLOW_S", 0.01)
    answers, told = threading.Event(), threading.Event()
    with pytest.raises(BlobStoreError, match=r"s3://b did not answer within 0.1 s .*LAZY_WAIT_S"):
        waiting.ask_all(
            lambda _n: answers.wait(),
            range(3),
            url="s3://b",
            at_once=2,
            seconds=0.1,
            slow=told.set,
        )
    assert told.is_set()
    answers.set()


_ENDS = """
import threading
from rekindle.blobs import waiting
from rekindle.exception import BlobStoreError
try:
    waiting.ask_all(lambda _n: threading.Event().wait(), [1], url="s", at_once=1, seconds=0.01)
except BlobStoreError:
    print("ends")
"""


def test_a_process_ends_although_a_store_has_not_answered_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ENDS], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "ends\n"


@pytest.mark.parametrize("text", ["soon", "0", "-1", "3601", "nan"])
def test_how_long_to_wait_is_a_number_of_seconds(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(waiting.VARIABLE, text)
    with pytest.raises(InvalidError, match=waiting.VARIABLE):
        waiting.wait_s()
    monkeypatch.setenv(waiting.VARIABLE, "2.5")
    assert waiting.wait_s() == 2.5
