"""The ways to start that are compared, and how a pool is had to take just that one."""

from __future__ import annotations

from rekindle.sdk import autoscaler
from rekindle.sdk.running import RunningApp
from rekindle.wire.phases import Strategy

SPARE, FORK, RESTORE = Strategy.SPARE.value, Strategy.FORK.value, Strategy.RESTORE.value
ALL = (SPARE, FORK, RESTORE)


def settle_pools(app: RunningApp, functions: list[str], strategy: str, window_s: float) -> None:
    """Set pools so that a start without an idle runner is of this strategy."""
    for function in functions:
        name = f"{app.name}.{function}"
        if strategy == FORK:
            autoscaler.set_by_name(app.client, name, spare_containers=0)
        if strategy == RESTORE:
            options = {"keep_s": window_s, "rest": "cached"}
            autoscaler.set_by_name(app.client, name, policy="fixed", options=options)
