"""Programs of an instance whose controller and Redis are real."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest
import redis

from rekindle.sdk.objects import link
from tests.controller.harness import Instance


@pytest.fixture(autouse=True)
def here(shared: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process asks goes to the shared instance, unless a test says otherwise."""
    monkeypatch.setenv("REKINDLE_DIR", str(shared.directory))


@pytest.fixture(autouse=True, scope="module")
def closes_its_connections(shared: Instance) -> Iterator[None]:
    """To the shared instance, about each object that its tests have named."""
    yield
    link.forget(shared.directory)


@pytest.fixture
def stored(shared: Instance) -> redis.Redis:
    """The Redis of the shared instance."""
    return shared.redis_client()


@pytest.fixture
def scripts_run(stored: redis.Redis) -> Iterator[Callable[[str], int]]:
    """How many operations on an object have reached Redis so far; what else the instance does there
    does not count."""
    seen: list[str] = []

    with stored.monitor() as monitor:

        def count(object_id: str) -> int:
            end = secrets.token_hex()
            stored.echo(end)
            while end not in (command := monitor.next_command()["command"]):
                if command.lower().startswith("evalsha"):
                    seen.append(command)
            return sum(object_id in one for one in seen)

        yield count
