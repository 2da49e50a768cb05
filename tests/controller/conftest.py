"""Fixtures of the controller's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controller.harness import Instance, running_instance


@pytest.fixture
def instance() -> Iterator[Instance]:
    """A controller and a Redis of the test's own, which it may kill.

    It waits for an agent that is gone longer than any test takes to bring it back.
    """
    with running_instance(REKINDLE_AGENT_GRACE_S="60") as made:
        yield made


@pytest.fixture
def impatient() -> Iterator[Instance]:
    """The same, and it gives up an agent soon."""
    with running_instance(REKINDLE_AGENT_GRACE_S="0.3") as made:
        yield made


@pytest.fixture(scope="session")
def shared() -> Iterator[Instance]:
    """One controller for the tests that leave it as it is."""
    with running_instance() as made:
        yield made


@pytest.fixture
def redis_alone() -> Iterator[Instance]:
    """An instance whose Redis runs, and no controller: its parts are in this process, if any."""
    with running_instance(start=False) as made:
        made.start_redis()
        yield made
