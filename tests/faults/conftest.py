"""Homes for tests, and a gate at which functions wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.harness import Gate, Home, a_home


@pytest.fixture
def home() -> Iterator[Home]:
    """A home of the test's own; nothing may be left in it."""
    with a_home() as made:
        yield made


@pytest.fixture
def gate(home: Home) -> Iterator[Gate]:
    """A gate that is shut."""
    made = Gate(home.root / "gate")
    yield made
    made.close()
