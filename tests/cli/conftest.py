"""Fixtures of the command line's tests: a real controller and Redis, and a fake controller."""

from tests.controller.conftest import instance, shared
from tests.sdk.conftest import controller

__all__ = ["controller", "instance", "shared"]
