"""Environments: where names of secrets, volumes, Dicts and Queues lie. Standard library only."""

from __future__ import annotations

import os

from rekindle.sdk import checks
from rekindle.wire.environment import DEFAULT_ENVIRONMENT, ENVIRONMENT_VARIABLE


def environment_of(given: str | None) -> str:
    """The environment that is given, else that of this process. Raises InvalidError."""
    name = os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_ENVIRONMENT if given is None else given
    checks.name("the environment name", name)
    return name
