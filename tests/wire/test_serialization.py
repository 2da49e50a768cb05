"""What travels comes back equal, and what cannot travel is named with the path to it."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
import threading
import traceback
from typing import Any

import pytest

from rekindle.exception import DeserializationError, RemoteError, SerializationError
from rekindle.wire.serialization import (
    ExceptionRecord,
    RemoteTraceback,
    deserialize,
    rebuild_exception,
    record_exception,
    remote_traceback,
    serialize,
    serialize_input,
)


def test_values_come_back_equal() -> None:
    value = {"a": [1, 2.5, b"x"], "f": {1, 2}}
    assert deserialize(serialize(value, "it"), "it") == value


def test_lambdas_travel() -> None:
    offset = 3
    assert deserialize(serialize(lambda x: x + offset, "it"), "it")(4) == 7


class Box:
    def __init__(self, content: Any) -> None:
        self.content = content


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda bad: {"a": [1, {"conn": bad}]}, "value['a'][1]['conn'] is a _thread.lock"),
        (lambda bad: Box((0, bad)), "value.content[1] is a _thread.lock"),
        (lambda bad: lambda: bad, "value > closure variable 'bad' is a _thread.lock"),
    ],
)
def test_the_part_that_cannot_be_pickled_is_named_with_its_path(make: Any, path: str) -> None:
    with pytest.raises(SerializationError) as caught:
        serialize(make(threading.Lock()), "the result of embed")
    assert str(caught.value).startswith("the result of embed cannot be pickled: ")
    assert path in str(caught.value)
    assert "cannot pickle '_thread.lock' object" in str(caught.value)


def test_an_argument_is_named_by_position_or_keyword() -> None:
    with socket.socket() as sock:
        with pytest.raises(SerializationError, match=r"args\[1\]\[0\] is a socket\.socket"):
            serialize_input((1, [sock]), {}, "an argument of f()")
        with pytest.raises(SerializationError, match=r"conn\['k'\] is a socket\.socket"):
            serialize_input((1,), {"conn": {"k": sock}}, "an argument of f()")


def test_a_cycle_around_the_bad_part_ends() -> None:
    loop: list[Any] = []
    loop.append(loop)
    loop.append(threading.Lock())
    with pytest.raises(SerializationError, match=r"value\[1\] is a _thread\.lock"):
        serialize(loop, "it")


def test_a_missing_module_is_named_when_unpickling() -> None:
    data = b"cno_such_module_here\nThing\n."
    with pytest.raises(DeserializationError, match=r"the result .*no_such_module_here.*importable"):
        deserialize(data, "the result of f")


def test_garbage_is_a_deserialization_error() -> None:
    with pytest.raises(DeserializationError):
        deserialize(b"\x80\x05garbage", "it")


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


def test_importing_it_loads_only_the_standard_library() -> None:
    code = (
        "import sys; import rekindle.wire.serialization;"
        "print([m for m in ('cloudpickle', 'grpc', 'redis', 'rich', 'click') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_pickle_is_readable_by_plain_pickle() -> None:
    assert pickle.loads(serialize((1, {"a": 2}), "it")) == (1, {"a": 2})


def test_plain_values_need_no_cloudpickle_and_others_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = {"a": [1, 2.5, None, True], "b": ("x", b"y", {3}), "c": bytearray(b"z")}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "cloudpickle", None)  # an import of it would fail
        assert deserialize(serialize(plain, "x"), "x") == plain
        assert deserialize(serialize_input((1, "a"), {}, "x"), "x") == ((1, "a"), {})
        assert deserialize(serialize_input((), {"k": [1]}, "x"), "x") == ((), {"k": [1]})
    shared = [1]
    _, (one, two) = deserialize(serialize([lambda: 7, (shared, shared)], "x"), "x")
    assert one is two  # nothing is left of the attempt that stopped at the lambda
