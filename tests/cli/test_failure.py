"""Where an error of rekindle's own says that it was raised."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import rekindle
from rekindle.cli.failure import show_error, show_exception, show_failure
from rekindle.exception import InvalidError
from rekindle.sdk.connection.background import background
from rekindle.wire.exceptions import rebuild_exception, record_exception


def test_the_place_is_a_line_of_the_program_not_of_generated_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(InvalidError) as caught:
        rekindle.Cron("every monday")  # a dataclass, whose __init__ is generated
    show_error(caught.value)
    said = capsys.readouterr().err
    assert f"at {__file__}:" in said and "<string>" not in said


def test_an_error_without_a_public_name_has_that_of_what_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class _OfOurs(InvalidError):
        pass

    show_error(_OfOurs("no"))
    assert "\nInvalidError; " in capsys.readouterr().err


def fails_in_a_call_of_ours() -> None:
    async def refused() -> None:
        rekindle.Cron("every monday")

    background().run(refused())


def grouped() -> None:
    try:
        fails_in_a_call_of_ours()
    except InvalidError as error:
        raise ExceptionGroup("several", [error, ValueError("theirs")]) from None


@pytest.mark.parametrize("function", [fails_in_a_call_of_ours, grouped])
def test_what_failed_in_a_runner_is_shown_without_frames_of_ours(
    function: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REKINDLE_TRACEBACK", raising=False)
    with pytest.raises((InvalidError, ExceptionGroup)) as caught:
        function()
    error = rebuild_exception(record_exception(caught.value))
    show_exception(error)
    said = capsys.readouterr().err
    assert "in fails_in_a_call_of_ours" in said and "background().run(refused())" in said
    assert "InvalidError: " in said and "in refused" in said
    assert "/rekindle/sdk/" not in said and "concurrent/futures" not in said
    assert "future.result()" not in said
    monkeypatch.setenv("REKINDLE_TRACEBACK", "1")
    show_exception(error)
    assert "/rekindle/sdk/" in capsys.readouterr().err


def raised_by_another() -> None:
    try:
        rekindle.Cron("every monday")
    except InvalidError as error:
        raise ValueError("theirs") from error


@pytest.mark.parametrize("function", [raised_by_another, grouped])
def test_an_error_that_others_led_to_is_shown_without_frames_of_ours(
    function: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((ValueError, ExceptionGroup)) as caught:
        function()
    show_exception(caught.value)
    said = capsys.readouterr().err
    assert "InvalidError: " in said and "theirs" in said and f'File "{__file__}"' in said
    assert "/rekindle/sdk/" not in said


def test_a_name_that_is_wrong_shows_the_one_that_is_near(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        rekindle.Functoin  # type: ignore[attr-defined] # noqa: B018
    except AttributeError as error:
        show_failure(error)
    said = (
        "AttributeError: module 'rekindle' has no attribute 'Functoin'. Did you mean: 'Function'?"
    )
    assert capsys.readouterr().err.splitlines()[-1] == said
