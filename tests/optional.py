"""Packages that a machine may lack, and that are loaded by the first test that uses them: each of
the processes that run tests collects them all, and torch alone takes seconds and 200 MB."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from rekindle.lazily import Lazily


class _Unasked(Lazily):
    """Not loaded by pytest, which asks all that a module of tests names for a few attributes."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_mock_name":
            raise AttributeError(name)
        return super().__getattr__(name)


def needs(name: str) -> pytest.MarkDecorator:
    """For what is skipped, with the reason, where that package is not installed."""
    missing = importlib.util.find_spec(name) is None
    return pytest.mark.skipif(missing, reason=f"{name} is not installed")


def module(name: str) -> Any:
    """The module of that name, not loaded yet."""
    return _Unasked(name)
