"""Programs of an instance whose controller and Redis are real."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from rekindle.controller.storage.embedded_redis import redis_socket
from tests.controller.harness import Instance


@pytest.fixture(autouse=True)
def here(shared: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process asks goes to the shared instance, unless a test says otherwise."""
    monkeypatch.setenv("REKINDLE_DIR", str(shared.directory))


@pytest.fixture
def stored(shared: Instance) -> redis.Redis:
    """The Redis of the shared instance."""
    return redis.Redis(unix_socket_path=str(redis_socket(shared.directory)))


@pytest.fixture
def scripts_run(stored: redis.Redis) -> Callable[[], int]:
    """How many operations have reached Redis so far."""

    def count() -> int:
        return int(stored.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])

    return count
