"""Homes for tests, and a gate at which functions wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.harness import Home, a_home


@pytest.fixture
def home() -> Iterator[Home]:
    """A home of the test's own; nothing may be left in it."""
    with a_home() as made:
        yield made


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    """A home with an instance that is up, for the tests of a module that leave it as it is."""
    with a_home() as made:
        made.up()
        yield made
        assert made.rekindle("down").out == "The instance is down.\n"
