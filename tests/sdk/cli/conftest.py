"""Fixtures of the command line's tests: a real controller and Redis."""

from tests.controller.conftest import instance, shared

__all__ = ["instance", "shared"]
