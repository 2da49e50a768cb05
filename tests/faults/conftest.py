"""Homes for tests, and gates at which functions wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.harness import Gate, Home, a_home, a_shared_home


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


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """Of the instance that the tests of a module share."""
    return {}


@pytest.fixture(scope="module")
def instance(settings: dict[str, str]) -> Iterator[Home]:
    """A home with an instance that is up; when the module is done, nothing may be left in it.

    Its processes are killed from outside: the supervisor is not to give them up.
    """
    with a_shared_home(REKINDLE_QUICK_DEATH_S="0", **settings) as made:
        yield made


@pytest.fixture
def shared(instance: Home) -> Iterator[Home]:
    """A place in the shared instance, for tests after which it is whole again."""
    made = instance.another_place()
    yield made
    made.end_programs()


@pytest.fixture
def shared_gate(shared: Home) -> Iterator[Gate]:
    """A gate that is shut, for functions of the shared instance."""
    made = Gate(shared.scripts / "gate")
    yield made
    made.close()
