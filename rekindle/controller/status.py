"""What the controller knows, as JSON for ``rekindle status`` and for those who debug."""

from __future__ import annotations

import json
import time

from rekindle.controller.redis_link import RedisLink
from rekindle.controller.state import Agent, Function, InputState, State
from rekindle.controller.store import QueueStore
from rekindle.wire.version import PROTOCOL, __version__


async def status_json(state: State, store: QueueStore, link: RedisLink, started: float) -> str:
    """Apps, functions with their queues, agents with their last heartbeat, Redis."""
    functions = list(state.functions.values())
    depths = await store.depth([function.function_id for function in functions])
    depth_of = {f.function_id: depth for f, depth in zip(functions, depths, strict=True)}
    delayed: dict[str, int] = {}
    for item in state.inputs.values():
        if item.state is InputState.DELAYED:
            function_id = item.call.function.function_id
            delayed[function_id] = delayed.get(function_id, 0) + 1
    report = {
        "instance_id": state.instance_id,
        "version": __version__,
        "protocol": PROTOCOL,
        "uptime_s": round(time.monotonic() - started, 3),
        "apps": [
            {
                "app_id": app.app_id,
                "name": app.name,
                "ephemeral": app.ephemeral,
                "held": app.holders > 0,
                "closing": app.closing,
                "functions": [
                    _function(f, depth_of.get(f.function_id, 0), delayed.get(f.function_id, 0))
                    for f in app.functions.values()
                ],
            }
            for app in state.apps.values()
        ],
        "agents": [_agent(agent) for agent in state.agents.values()],
        "waiting_calls": len(state.waiters),
        "redis": await _redis(link),
    }
    return json.dumps(report)


def _function(function: Function, depth: int, delayed: int) -> dict[str, object]:
    return {
        "function_id": function.function_id,
        "name": function.name,
        "undone": depth,
        "queued": max(0, depth - function.outstanding - delayed),
        "in_flight": function.outstanding,
        "delayed": delayed,
    }


def _agent(agent: Agent) -> dict[str, object]:
    return {
        "agent_id": agent.agent_id,
        "host": agent.host,
        "pid": agent.pid,
        "connected": agent.outbox is not None,
        "joined": agent.joined,
        "max_runners": agent.max_runners,
        "in_flight": len(agent.inputs),
        "last_heard_s": round(time.monotonic() - agent.heard, 3),
        "stats": agent.stats,
    }


async def _redis(link: RedisLink) -> dict[str, object]:
    info: dict[str, object] = await link.command("INFO")
    names = (
        "redis_version",
        "uptime_in_seconds",
        "used_memory",
        "connected_clients",
        "aof_enabled",
        "aof_last_write_status",
    )
    return {"url": link.shown_url, **{name: info[name] for name in names if name in info}}
