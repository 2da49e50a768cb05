"""What `rekindle bench` is told on its command line."""

from __future__ import annotations

import pytest

from rekindle.cli.bench import parse_arguments
from rekindle.exception import InvalidError


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
