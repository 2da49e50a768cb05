"""Fixtures of the controller's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controller.harness import Instance, running_instance


@pytest.fixture
def instance() -> Iterator[Instance]:
    """A controller and a Redis of the test's own, which it may kill."""
    with running_instance() as made:
        yield made


@pytest.fixture(scope="session")
def shared() -> Iterator[Instance]:
    """One controller for the tests that leave it as it is."""
    with running_instance() as made:
        yield made
