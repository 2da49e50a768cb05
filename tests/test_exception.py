"""Errors in words: what rekindle/exception.py gives to those who write them."""

from __future__ import annotations

import uuid
from collections import OrderedDict, UserDict

import pytest

from rekindle.exception import a_or_an


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (int, "an int"),
        (str, "a str"),
        (OrderedDict, "an OrderedDict"),
        (UserDict, "a UserDict"),
        (uuid.UUID, "a UUID"),
        (type("Upload", (), {}), "an Upload"),
        ("numpy.ndarray", "a numpy.ndarray"),
        ("array.array", "an array.array"),
    ],
)
def test_a_type_has_the_article_that_it_is_read_with(kind: type | str, said: str) -> None:
    assert a_or_an(kind) == said
