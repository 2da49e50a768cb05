"""What `rekindle bench` is told on its command line."""

from __future__ import annotations

import pytest

from rekindle.cli.bench import parse_arguments, parse_parameters
from rekindle.exception import InvalidError
from rekindle.sdk.hooks import parameter


def test_a_list_is_positional_and_an_object_is_by_name() -> None:
    assert parse_arguments('[["a", "b"], 2]') == ((["a", "b"], 2), {})
    assert parse_arguments('{"texts": ["a"]}') == ((), {"texts": ["a"]})
    assert parse_arguments("[]") == ((), {})


@pytest.mark.parametrize(
    ("text", "says"),
    [("['a']", "is not JSON"), ('"a"', r"write --args '\[\"a\"\]'"), ("3", "neither a list")],
)
def test_other_arguments_are_refused_with_how_to_write_them(text: str, says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        parse_arguments(text)


class Model:
    size: int = parameter(default=1)
    name: str = parameter()
    fast: bool = parameter(default=False)
    key: bytes = parameter(default=b"")


def test_parameters_are_typed_by_their_annotations() -> None:
    given = ("size=3", "name=a=b", "fast=TRUE", "key=k")
    assert parse_parameters(Model, given) == {"size": 3, "name": "a=b", "fast": True, "key": b"k"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("size", "write it as NAME=VALUE"),
        ("sise=3", "no parameter 'sise'; did you mean 'size'"),
        ("size=big", "not a whole number"),
        ("fast=1", "true or false"),
    ],
)
def test_wrong_parameters_are_refused(given: str, says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        parse_parameters(Model, (given,))
