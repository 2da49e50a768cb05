"""Exceptions as libraries write them: each comes home as it was, or as a RemoteError with its text.

Each is recorded here and rebuilt in another process, which holds nothing of what made it.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from rekindle.exception import RemoteError
from rekindle.wire.exceptions import rebuild_exception, record_exception, remote_traceback

_AT_HOME = """
import json, pickle, sys, traceback
sys.path[:0] = json.loads(sys.argv[1])
from rekindle.wire.exceptions import ExceptionRecord, rebuild_exception
back = rebuild_exception(ExceptionRecord(*pickle.load(sys.stdin.buffer)))
attributes = {name: repr(one) for name, one in vars(back).items()}
shown = "".join(traceback.format_exception(back))
kind = f"{type(back).__module__}.{type(back).__qualname__}"
print(json.dumps([kind, str(back), repr(back.args), attributes, shown]))
"""


def raised(raises: BaseException | Callable[[], object]) -> BaseException:
    try:
        if isinstance(raises, BaseException):
            raise raises
        raises()
    except BaseException as error:  # noqa: BLE001
        return error
    raise AssertionError("it raised nothing")


def at_home(exc: BaseException) -> tuple[str, str, str, dict[str, str], str]:
    """Its type, text, arguments, attributes and how Python shows it, in another process."""
    import pickle

    record = record_exception(exc)
    ended = subprocess.run(
        [sys.executable, "-c", _AT_HOME, json.dumps([str(Path(__file__).parents[2])])],
        input=pickle.dumps(tuple(record)),
        capture_output=True,
        check=True,
        timeout=60,
    )
    kind, text, args, attributes, shown = json.loads(ended.stdout)
    return kind, text, args, attributes, shown


def refused_by_grpc() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        channel.unary_unary("/service/method")(b"", timeout=60)


def test_of_grpc_comes_as_a_remote_error_with_its_type_text_and_traceback() -> None:
    exc = raised(refused_by_grpc)
    kind, text, _, attributes, shown = at_home(exc)
    assert kind == "rekindle.exception.RemoteError"
    assert attributes["type_name"] == repr("grpc._channel._InactiveRpcError")
    assert attributes["message"] == repr(str(exc))
    assert "StatusCode.UNAVAILABLE" in text and "in refused_by_grpc" in shown
    assert "_state (grpc._channel._RPCState) cannot be pickled" in text


class Status(Exception):
    """As that of aiohttp: its text needs what cannot travel."""

    def __init__(self, request: Any, *, status: int) -> None:
        super().__init__(request)
        self.request, self.status = request, status

    def __str__(self) -> str:
        return f"{self.status} of {self.request['path']}"


def test_one_that_cannot_be_shown_without_what_cannot_travel_is_a_remote_error() -> None:
    kind, text, _, attributes, _ = at_home(
        raised(Status({"path": "/a", "lock": threading.Lock()}, status=403))
    )
    assert kind == "rekindle.exception.RemoteError"
    assert text.startswith(f"{Status.__module__}.Status: 403 of /a [as it would come back its")
    assert attributes["message"] == repr("403 of /a")


class Shown(Exception):
    def __str__(self) -> str:
        return f"with {getattr(self, 'lock', None) and 'a'} lock"


def test_one_that_would_show_another_text_is_a_remote_error() -> None:
    exc = Shown()
    exc.lock = threading.Lock()  # type: ignore[attr-defined]
    kind, text, _, _, _ = at_home(raised(exc))
    assert kind == "rekindle.exception.RemoteError"
    assert "with a lock [it would come back with another text, as .lock (_thread.lock)" in text


class Unshown(Exception):
    def __init__(self, how: str) -> None:
        super().__init__("x")
        self.how = how

    def __str__(self) -> str:
        return self.fails("str")

    def __repr__(self) -> str:
        return self.fails("repr")

    def fails(self, how: str) -> str:
        if self.how == how:
            raise RuntimeError("cannot")
        return "shown"


@pytest.mark.parametrize("how", ["str", "repr"])
def test_one_that_cannot_be_shown_where_it_was_raised_is_a_remote_error(how: str) -> None:
    kind, text, _, attributes, shown = at_home(raised(Unshown(how)))
    assert kind == "rekindle.exception.RemoteError"
    assert f"its {how}() fails (RuntimeError: cannot)" in text
    assert attributes["type_name"] == repr(f"{Unshown.__module__}.Unshown")
    assert "in raised" in shown


def test_a_pydantic_error_comes_as_itself() -> None:
    pydantic = pytest.importorskip("pydantic")  # comes with the demo's packages
    model = pydantic.create_model("Model", number=(int, ...))
    exc = raised(lambda: model(number="no"))
    kind, text, _, _, _ = at_home(exc)
    assert kind == "pydantic_core._pydantic_core.ValidationError" and text == str(exc)


class Counting(Exception):
    """What it does when it is made is done once."""

    made = 0

    def __init__(self, text: str, code: int = 0) -> None:
        type(self).made += 1
        super().__init__(text)
        self.code = code


class Swapping(Exception):
    """Takes its arguments in another order than it passes on."""

    def __init__(self, left: str, right: str) -> None:
        super().__init__(right, left)
        self.left, self.right = left, right

    def __str__(self) -> str:
        return "swapping"


class Forgetful(Exception):
    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"code {code}")
        self.code, self.detail = code, detail

    def __reduce__(self) -> Any:
        return type(self), (self.code, "")


class Keywords(Exception):
    __slots__ = ("reason",)

    def __init__(self, *, reason: str) -> None:
        self.reason = reason

    def __str__(self) -> str:
        return f"because of {self.reason}"


class Holder(Exception):
    """Has other exceptions in its attributes and arguments, as wrappers of drivers do."""

    def __init__(self, original: BaseException) -> None:
        super().__init__(original, "held")
        self.original = original


def test_state_comes_as_it_was_and_no_init_runs_again() -> None:
    Counting.made = 0
    back = rebuild_exception(record_exception(raised(Counting("one", code=7))))
    assert isinstance(back, Counting) and back.code == 7 and Counting.made == 1
    swapped = rebuild_exception(record_exception(raised(Swapping("l", "r"))))
    assert isinstance(swapped, Swapping)
    assert (swapped.left, swapped.right, swapped.args) == ("l", "r", ("r", "l"))


def test_what_its_own_pickling_loses_comes_home() -> None:
    back = rebuild_exception(record_exception(raised(Forgetful(3, "the disk is full"))))
    assert isinstance(back, Forgetful) and back.detail == "the disk is full"


def test_exceptions_that_others_hold_come_as_they_were() -> None:
    group = ExceptionGroup("all", [Keywords(reason="r"), Swapping("a", "b")])
    exc = Holder(Keywords(reason="this"))
    exc.more = [group, exc]  # type: ignore[attr-defined]
    back: Any = rebuild_exception(record_exception(raised(exc)))
    assert isinstance(back, Holder) and not hasattr(back, "__notes__")
    assert str(back.original) == str(back.args[0]) == "because of this"
    assert back.original is back.args[0] and back.more[1] is back
    first, second = back.more[0].exceptions
    assert first.reason == "r" and (second.left, second.right) == ("a", "b")


def test_members_of_groups_that_cannot_come_are_remote_errors_beside_those_that_can() -> None:
    inner = ExceptionGroup("inner", [Unshown("str"), Keywords(reason="r")])
    exc = raised(ExceptionGroup("outer", [inner, ValueError("v")]))
    exc.__cause__ = Unshown("str")
    back = rebuild_exception(record_exception(exc))
    assert isinstance(back, ExceptionGroup) and isinstance(back.__cause__, RemoteError)
    nested, value = back.exceptions
    assert isinstance(nested, ExceptionGroup) and isinstance(value, ValueError)
    lost, kept = nested.exceptions
    assert isinstance(lost, RemoteError) and lost.type_name.endswith(".Unshown")
    assert isinstance(kept, Keywords) and kept.reason == "r"


def test_a_note_names_what_was_left_where_it_was_raised() -> None:
    exc = Counting("mine", code=3)
    exc.lock = threading.Lock()  # type: ignore[attr-defined]
    with socket.socket() as one:
        exc.args = ("mine", one)
        exc.__class__.__str__ = lambda self: "mine"  # type: ignore[method-assign]
        try:
            back = rebuild_exception(record_exception(raised(exc)))
        finally:
            del exc.__class__.__str__
    assert isinstance(back, Counting) and back.code == 3 and not hasattr(back, "lock")
    (note,) = back.__notes__
    assert ".lock (_thread.lock)" in note and "args[1] (socket.socket)" in note


def test_a_remote_error_is_the_same_behind_another_call() -> None:
    once = rebuild_exception(record_exception(raised(Unshown("str"))))
    twice = rebuild_exception(record_exception(raised(once)))
    assert isinstance(once, RemoteError) and isinstance(twice, RemoteError)
    assert str(twice) == str(once) and vars(twice) == vars(once)
    assert str(twice).count("its str() fails") == 1


def test_what_is_broken_at_home_alone_is_a_remote_error(monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_exception(raised(Keywords(reason="r")))
    monkeypatch.setattr(Keywords, "__str__", lambda self: self.nothing)
    back = rebuild_exception(record)
    assert isinstance(back, RemoteError) and "because of r" in str(back)
    assert back.message == "because of r" and "in raised" in (remote_traceback(back) or "")
