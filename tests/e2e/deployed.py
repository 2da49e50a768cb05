"""A deployed app that several tests call, and what an instance tells of what is deployed."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.harness import Home

SERVICE = """
import rekindle

app = rekindle.App("service")
VERSION = {version}

@app.function(enable_memory_snapshot=True)
def answer(x):
    return VERSION, x

@app.function()
def nested(x):
    return answer.remote(x)

@app.cls()
class Scaled:
    by: int = rekindle.parameter(default=3)

    @rekindle.method()
    def value(self, x):
        return VERSION, self.by * x
"""


def app_list(home: Home, *command: str) -> list[dict[str, object]]:
    """``rekindle app list --json`` or its like."""
    found: list[dict[str, object]] = json.loads(home.rekindle("app", *command, "--json").out)
    return found


def agent_stats(home: Home) -> dict[str, Any]:
    """What the agent told of itself last."""
    stats: dict[str, Any] = home.status()["agents"][0]["stats"]
    return stats


def held_apps(home: Home) -> set[str]:
    """Apps of which the agent has a runner or a pool."""
    stats = agent_stats(home)
    return {one["app_id"] for one in [*stats["runners"], *stats["pools"]]}
