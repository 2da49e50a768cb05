"""``--param NAME=VALUE``: values for the parameters of a class."""

from __future__ import annotations

import pytest

from rekindle.cli.param_option import parse_parameters
from rekindle.exception import InvalidError
from rekindle.sdk.hooks import parameter


class Model:
    size: int = parameter(default=1)
    name: str = parameter()
    fast: bool = parameter(default=False)
    key: bytes = parameter(default=b"")
    own: int = parameter(init=False, default=7)


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
        ("own=1", "no parameter 'own'"),
        ("size=3", "without a default: add --param name=VALUE"),
    ],
)
def test_wrong_parameters_are_refused(given: str, says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        parse_parameters(Model, (given,))
