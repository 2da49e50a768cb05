"""Homes for tests, and gates at which functions wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import gate, home, shared, shared_gate
from tests.e2e.harness import Home, a_shared_home

#: ``shared`` is a place in the ``instance`` of this folder.
__all__ = ("gate", "home", "shared", "shared_gate")


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
