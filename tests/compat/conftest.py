"""Homes of real programs, as in tests/e2e."""

from tests.e2e.conftest import home, instance, shared

__all__ = ["home", "instance", "shared"]
