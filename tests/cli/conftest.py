"""Fixtures of the command line's tests: a controller, real or fake, and commands run here."""

import sys
from collections.abc import Iterator

import pytest

from tests.cli.run_here import run, script
from tests.controller.conftest import instance, shared
from tests.sdk.conftest import controller

__all__ = ["controller", "instance", "run", "script", "shared"]


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs that a command loads into the tests' process are not there for the next test."""
    monkeypatch.setattr("rekindle.sdk.program.main_module._loaded", {})
    modules, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - modules:
        if "program" in name and not name.startswith("rekindle."):
            del sys.modules[name]
    sys.path[:] = path
