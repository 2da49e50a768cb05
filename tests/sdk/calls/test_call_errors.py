"""What a call raises: the user's exceptions, what cannot travel, what rekindle reports."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import rekindle
from rekindle.exception import (
    DeserializationError,
    FunctionTimeoutError,
    InternalFailure,
    NotFoundError,
    RemoteError,
    RequestSizeError,
    RunnerLostError,
    SerializationError,
    StartError,
    StrategyUnavailableError,
)
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.exceptions import record_exception, remote_traceback
from tests.sdk.fake_controller import FakeController

app = rekindle.App("errors")


class Broken(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


@app.function()
def double(x: int, *, plus: int = 0) -> int:
    return 2 * x + plus


@app.function()
def fail() -> None:
    raise Broken(7, "no")


@app.function()
def give_lock() -> Any:
    return {"a": [threading.Lock()]}


def test_an_exception_comes_back_as_it_was_raised(controller: FakeController) -> None:
    with app.run(), pytest.raises(Broken, match="7: no") as caught:
        fail.remote()
    assert caught.value.code == 7
    text = remote_traceback(caught.value)
    assert text is not None
    assert "in fail" in text
    assert "rekindle/sdk" not in text


def test_an_argument_that_cannot_be_pickled_is_named(controller: FakeController) -> None:
    words = r"double\(\).*plus\['x'\] is a _thread\.lock"
    with app.run(), pytest.raises(SerializationError, match=words):
        double.remote(1, plus={"x": threading.Lock()})  # type: ignore[arg-type]
    assert not controller.submitted


def test_arguments_that_are_too_large_are_refused_before_they_are_sent(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rekindle.sdk.calls.arguments.MAX_PAYLOAD_BYTES", 1 << 20)
    with app.run(), pytest.raises(RequestSizeError, match=r"double\(\) take 2 MiB, more than 1"):
        double.remote(b"x" * (2 << 20))  # type: ignore[arg-type]
    assert not controller.submitted


def test_code_that_carries_large_data_is_refused(
    controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rekindle.sdk.program.registration.MAX_CODE_BYTES", 1 << 20)
    data = b"x" * (2 << 20)
    large = rekindle.App("large")

    @large.function()
    def f() -> int:
        return len(data)

    with pytest.raises(RequestSizeError, match=r"the code of f takes 2 MiB.*enter"), large.run():
        pass


def test_a_result_that_cannot_be_pickled_is_an_error_of_the_caller(
    controller: FakeController,
) -> None:
    with app.run(), pytest.raises(SerializationError, match=r"value\['a'\]\[0\]"):
        give_lock.remote()


def test_a_result_that_cannot_be_unpickled_here_is_named(controller: FakeController) -> None:
    def damage(result: pb.Result) -> None:
        result.data = b"cno_such_module_here\nX\n."

    controller.edit = damage
    with app.run(), pytest.raises(DeserializationError, match=r"the result of double.*no_such"):
        double.remote(1)


@pytest.mark.parametrize(
    ("status", "error_type", "kind"),
    [
        (pb.TIMEOUT, "", FunctionTimeoutError),
        (pb.RUNNER_LOST, "", RunnerLostError),
        (pb.START_FAILURE, "", StartError),
        (
            pb.START_FAILURE,
            "rekindle.exception.StrategyUnavailableError",
            StrategyUnavailableError,
        ),
        (pb.CANCELLED, "", RemoteError),
        (pb.INTERNAL, "", InternalFailure),
        (pb.INTERNAL, "rekindle.exception.NotFoundError", NotFoundError),
        (pb.FAILURE, "lib.Gone", RemoteError),
    ],
)
def test_what_rekindle_reports_has_its_own_types(
    controller: FakeController, status: int, error_type: str, kind: type[Exception]
) -> None:
    def replace(result: pb.Result) -> None:
        result.status = status  # type: ignore[assignment]
        result.error_type = error_type
        result.message = "the reason"
        result.data = b""

    controller.edit = replace
    with app.run(), pytest.raises(kind, match="the reason") as caught:
        double.remote(1)
    assert type(caught.value) is kind


def test_a_hook_that_raised_is_raised_at_home(controller: FakeController) -> None:
    def replace(result: pb.Result) -> None:
        result.status = pb.START_FAILURE
        result.data = record_exception(KeyError("weights")).data
        result.traceback = "Traceback ...\nKeyError: 'weights'"

    controller.edit = replace
    with app.run(), pytest.raises(KeyError, match="weights"):
        double.remote(1)


@pytest.mark.parametrize("take", [lambda: double.spawn(1).get(), lambda: list(double.map([1]))])
def test_a_stored_result_that_cannot_be_read_says_what_to_do(
    controller: FakeController, take: Callable[[], object]
) -> None:
    controller.stored = lambda _: b"\xff\xff"
    with app.run(), pytest.raises(InternalFailure, match=r"call fc-.* cannot be read .*call again"):
        take()
