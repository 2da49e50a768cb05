"""What travels comes back equal, and what cannot travel is named with the path to it."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from rekindle.exception import DeserializationError, SerializationError
from rekindle.wire.serialization import deserialize, serialize, serialize_input


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
