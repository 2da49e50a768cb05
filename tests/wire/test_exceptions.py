"""Exceptions come home as they were raised: type, state, and where it happened."""

from __future__ import annotations

import threading
import traceback

import pytest

from rekindle.exception import RemoteError, SerializationError
from rekindle.wire.exceptions import (
    ExceptionRecord,
    RemoteTraceback,
    rebuild_exception,
    record_exception,
    remote_traceback,
)
from rekindle.wire.serialization import serialize


class TwoArguments(Exception):
    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left} and {right}")
        self.left = left
        self.right = right


class WithLock(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
        self.code = 7


def raised(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    "exc",
    [ValueError("x"), KeyError("k"), FileNotFoundError(2, "gone", "a.txt"), TwoArguments(1, 2)],
)
def test_an_exception_comes_back_as_the_same_type_with_its_state(exc: Exception) -> None:
    back = rebuild_exception(record_exception(raised(exc)))
    assert type(back) is type(exc)
    assert str(back) == str(exc)
    assert back.args == exc.args
    assert {k: v for k, v in vars(back).items() if k != "__notes__"} == vars(exc)


def test_attributes_that_cannot_travel_are_left_out() -> None:
    back = rebuild_exception(record_exception(raised(WithLock("no"))))
    assert isinstance(back, WithLock)
    assert back.code == 7
    assert not hasattr(back, "lock")


def test_the_remote_traceback_is_shown_by_a_plain_raise() -> None:
    back = rebuild_exception(record_exception(raised(ValueError("deep"))))
    assert isinstance(back.__cause__, RemoteTraceback)
    shown = "".join(traceback.format_exception(back))
    assert "in raised" in shown
    assert remote_traceback(back) is not None


def test_rekindles_own_and_named_leading_frames_are_left_out() -> None:
    def fails() -> None:
        serialize(threading.Lock(), "it")

    try:
        fails()
    except SerializationError as error:
        everything = record_exception(error).traceback
        trimmed = record_exception(error, skip_frames_in=(__file__,)).traceback
    assert "in fails" in everything
    assert "in fails" not in trimmed
    assert "File" not in trimmed
    assert "SerializationError" in trimmed


def test_causes_are_part_of_the_text() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as error:
        text = record_exception(error).traceback
    assert "KeyError: 'inner'" in text
    assert "direct cause" in text


def test_what_cannot_be_rebuilt_is_a_remote_error_with_the_text() -> None:
    record = ExceptionRecord(b"cno_such_module_here\nE\n.", "lib.E", "broken", "Traceback …\nlib.E")
    back = rebuild_exception(record)
    assert isinstance(back, RemoteError)
    assert "lib.E: broken" in str(back)
    assert remote_traceback(back) == "Traceback …\nlib.E"


def test_an_exception_whose_str_fails_is_still_recorded() -> None:
    class Bad(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert "no text" in record_exception(raised(Bad())).message
