"""What was raised behind several calls is told once, with the frames of each of them."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable

import pytest

from rekindle.exception import RemoteExitError
from rekindle.wire.exceptions import (
    RemoteTraceback,
    rebuild_exception,
    record_exception,
    remote_traceback,
)

Call = Callable[[], object]


def behind(call: Call) -> Call:
    """What calls it in another process, as far as exceptions can tell."""

    def remote() -> object:
        try:
            return call()
        except BaseException as error:  # noqa: BLE001
            record = record_exception(error)
        raise rebuild_exception(record)

    return remote


def text_of(call: Call) -> str:
    try:
        behind(call)()
    except Exception as error:  # noqa: BLE001
        return remote_traceback(error) or ""
    raise AssertionError("it raised nothing")


def innermost() -> None:
    raise ValueError("what was raised")


def middle() -> None:
    behind(innermost)()


def outer() -> None:
    behind(middle)()


def frames(text: str) -> list[str]:
    names = [line.rpartition(" in ")[2] for line in text.splitlines() if "  File " in line]
    return [name for name in names if name != "remote"]


def test_calls_of_calls_make_one_traceback_the_outermost_first() -> None:
    text = text_of(outer)
    assert frames(text) == ["outer", "middle", "innermost"]
    assert text.count("Traceback (most recent call last)") == 1
    assert text.count("what was raised") == 2  # the line of code, and the error
    assert text.endswith("\nValueError: what was raised\n")


def test_one_that_wraps_another_has_that_once_before_it() -> None:
    def wraps() -> None:
        try:
            behind(middle)()
        except ValueError as error:
            raise RuntimeError("wrapped") from error

    for call in (wraps, behind(wraps)):
        text = text_of(call)
        assert text.count("ValueError: what was raised") == 1
        assert text.count("RuntimeError: wrapped") == 1
        assert text.count("direct cause") == 1
        assert frames(text) == ["wraps", "middle", "innermost", "wraps"]
        assert RemoteTraceback.__name__ not in text


def test_causes_stay_before_what_they_caused_behind_any_number_of_calls() -> None:
    def caused() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    def calls() -> None:
        behind(behind(caused))()

    text = text_of(calls)
    assert text.count("KeyError: 'first'") == 1 and text.count("ValueError: second") == 1
    assert text.index("KeyError: 'first'") < text.index("in calls") < text.index("in caused", 200)
    assert frames(text) == ["caused", "calls", "caused"]


def test_a_group_and_its_members_are_told_once() -> None:
    def grouped() -> None:
        try:
            behind(innermost)()
        except ValueError as error:
            raise ExceptionGroup("some", [error, KeyError("k")]) from None

    def calls() -> None:
        behind(grouped)()

    text = text_of(calls)
    assert text.count("ValueError: what was raised") == text.count("KeyError: 'k'") == 1
    assert text.count("ExceptionGroup: some (2 sub-exceptions)") == 1
    assert text.startswith("  + Exception Group Traceback (most recent call last):\n  |   File ")
    (line,) = (line for line in text.splitlines() if line.endswith(", in calls"))
    assert line.startswith("  |   File ")
    assert frames(text) == ["calls", "grouped", "grouped", "innermost"]


def test_notes_of_each_call_come_once() -> None:
    def noted() -> None:
        try:
            behind(innermost)()
        except ValueError as error:
            error.add_note("of the first\ncall")
            raise

    def noted_again() -> None:
        try:
            behind(noted)()
        except ValueError as error:
            error.add_note("of the second")
            raise

    text = text_of(noted_again)
    assert text.endswith("ValueError: what was raised\nof the first\ncall\nof the second\n")
    assert text.count("of the first\n") == 1
    assert frames(text) == ["noted_again", "noted", "innermost"]


def test_a_message_that_looks_like_a_traceback_is_left_as_it_is() -> None:
    message = "".join(
        ["sub\nTraceback (most recent call last):\n  File ...\n\n"]
        + ["The above exception was the direct cause of the following exception:\n\nValueError: x"]
    )

    def quotes() -> None:
        raise ValueError(message)

    def calls() -> None:
        behind(quotes)()

    text = text_of(calls)
    assert text.endswith(f"ValueError: {message}\n")
    assert text.index("in calls") < text.index("in quotes") < text.index("sub\n")


def test_one_whose_text_was_changed_on_the_way_is_shown_beside_what_it_was() -> None:
    def changes() -> None:
        try:
            behind(innermost)()
        except ValueError as error:
            error.args = ("changed",)
            raise

    text = text_of(changes)
    assert "ValueError: what was raised" in text and "ValueError: changed" in text


def test_what_ends_programs_is_told_once_behind_several_calls() -> None:
    def ends() -> None:
        raise SystemExit(3)

    def calls() -> None:
        behind(ends)()

    text = text_of(behind(calls))
    assert text.count("SystemExit: 3\n") == 1
    assert text.count(f"{RemoteExitError.__name__}: ") == 1
    assert frames(text) == ["ends", "calls"]


def test_a_remote_error_is_told_as_what_it_stands_for_with_the_frames_of_all_calls() -> None:
    class Unshown(Exception):
        def __str__(self) -> str:
            return self.args[0].name if self.args[0].locked() else "unlocked"

    def fails() -> None:
        raise Unshown(threading.Lock())

    def calls() -> None:
        behind(fails)()

    text = text_of(calls)
    assert frames(text) == ["calls", "fails"] and text.endswith("Unshown: unlocked\n")
    assert "RemoteError" not in text and text.count("Unshown: unlocked") == 1


def test_the_loop_that_ran_a_coroutine_for_us_is_left_out_the_users_own_is_not() -> None:
    from rekindle.runtime.runner.service import Service

    async def fails() -> None:
        await asyncio.sleep(0)
        innermost()

    service = Service("s", {"": fails})
    try:
        with pytest.raises(ValueError) as ours:
            service.call("", (), {})
        with pytest.raises(ValueError) as own:
            asyncio.run(fails())
    finally:
        service.event_loop().close()
    called = ours.value.with_traceback(ours.tb.tb_next)  # as from a runner's own code
    assert frames(record_exception(called).traceback) == ["fails", "innermost"]
    assert "run_until_complete" in record_exception(own.value).traceback


def test_a_chain_of_thousands_is_told_in_time() -> None:
    def chain() -> None:
        exc: Exception | None = None
        for number in range(3000):
            following = ValueError(number)
            following.__cause__ = exc
            exc = following
        assert exc is not None
        raise exc

    assert "ValueError: 2999" in text_of(behind(chain))


def test_at_home_python_shows_the_remote_traceback_once() -> None:
    try:
        behind(outer)()
    except ValueError as error:
        shown = "".join(traceback.format_exception(error))
    assert shown.count("RemoteTraceback") == 1 and shown.count("direct cause") == 1
