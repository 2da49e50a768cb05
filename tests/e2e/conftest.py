"""Homes for tests: one each, or a place in one whose instance is up and shared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import images
from tests.e2e.harness import Gate, Home, a_home, a_shared_home


@pytest.fixture
def home() -> Iterator[Home]:
    """A home of the test's own; nothing may be left in it."""
    with a_home() as made:
        yield made


@pytest.fixture
def home_with_base() -> Iterator[Home]:
    """A home with a store of image layers of its own, which has the base."""
    with a_home() as made:
        images.store_with_base(made.root / "images")
        made.environ["REKINDLE_IMAGES"] = str(made.root / "images")
        yield made


@pytest.fixture
def gate(home: Home) -> Iterator[Gate]:
    """A gate that is shut."""
    with Gate(home.root / "gate") as made:
        yield made


@pytest.fixture(scope="session")
def instance() -> Iterator[Home]:
    """A home with an instance that is up, one for each process that runs tests.

    The deliveries of an input that kills its runner follow one another quickly: five of them take
    half a second of waiting in place of seven.
    """
    with a_shared_home(REKINDLE_CRASH_BACKOFF_S="0.05") as made:
        yield made


@pytest.fixture
def shared(instance: Home) -> Iterator[Home]:
    """A place in the shared instance, for tests that leave it as it is."""
    with instance.another_place() as made:
        yield made


@pytest.fixture
def shared_gate(shared: Home) -> Iterator[Gate]:
    """A gate that is shut, for functions of the shared instance."""
    with Gate(shared.scripts / "gate") as made:
        yield made
