"""Which frames of an error a program sees; whole programs are in tests/e2e/test_exceptions.py."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable

import pytest

import rekindle
from rekindle.exception import InvalidError, NotFoundError
from rekindle.sdk import checks, user_frames
from rekindle.sdk.dual import Dual, shown


def names(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def refuse(*_: object) -> None:
    checks.name("the name", "a b")


def test_our_frames_are_left_out_and_those_of_the_program_under_them_stay() -> None:
    def of_the_program() -> None:
        refuse()

    with pytest.raises(InvalidError) as caught:
        Dual(of_the_program, of_the_program)()
    here = test_our_frames_are_left_out_and_those_of_the_program_under_them_stay.__name__
    assert names(caught.value) == [here, "of_the_program", "refuse"]


def test_a_fault_of_ours_shows_where_it_is() -> None:
    def faulty() -> None:
        raise KeyError("not ours, and no function's")

    with pytest.raises(KeyError) as caught:
        Dual(faulty, faulty)()
    assert "__call__" in names(caught.value)


def test_ctrl_c_shows_where_the_program_waited_and_no_frame_of_ours() -> None:
    def waits() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        Dual(waits, waits)()
    here = test_ctrl_c_shows_where_the_program_waited_and_no_frame_of_ours.__name__
    assert names(caught.value) == [here, "waits"]


def test_a_task_that_ctrl_c_cancels_shows_no_frame_of_ours_either() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def main() -> list[str]:
        try:
            await shown(cancelled(), refuse, (), {})
        except asyncio.CancelledError as error:
            return names(error)
        return []

    assert asyncio.run(main()) == ["main", "cancelled"]


def test_all_are_kept_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REKINDLE_TRACEBACK", "1")
    with pytest.raises(InvalidError) as caught:
        Dual(refuse, refuse)()
    assert {"__call__", "name"} <= set(names(caught.value))


def test_an_error_that_was_not_raised_yet_stays_as_it_is() -> None:
    error = NotFoundError("nothing")
    user_frames.only(error)
    assert error.__traceback__ is None


def _wrong_option() -> None:
    rekindle.App("wrong").function(timeout="5")  # type: ignore[arg-type]


def _second_of_a_name() -> None:
    app = rekindle.App("twice")

    for _ in range(2):
        app.function(name="same", serialized=True)(lambda: None)


def _wrong_name() -> None:
    rekindle.App("a b")


def _class_with_init() -> None:
    class Model:
        def __init__(self, size: int) -> None: ...

    rekindle.App("wrong").cls()(Model)


def _hook_on_a_class() -> None:
    rekindle.enter()(int)


def _entrypoint_of_no_function() -> None:
    rekindle.App("wrong").local_entrypoint()(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "declare",
    [
        _wrong_option,
        _second_of_a_name,
        _wrong_name,
        _class_with_init,
        _hook_on_a_class,
        _entrypoint_of_no_function,
    ],
)
def test_a_declaration_that_is_wrong_shows_the_programs_frames_alone(
    declare: Callable[[], None],
) -> None:
    with pytest.raises(InvalidError) as caught:
        declare()
    here = test_a_declaration_that_is_wrong_shows_the_programs_frames_alone.__name__
    assert names(caught.value) == [here, declare.__name__]
