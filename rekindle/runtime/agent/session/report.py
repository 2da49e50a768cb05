"""What an agent reports of itself in its heartbeat."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import psutil

from rekindle.runtime.agent.node import Node
from rekindle.runtime.agent.scheduling.budget import report, report_pools
from rekindle.wire.phases import now_ns


def stats_json(node: Node) -> str:
    """Runners, templates, snapshots and memory, as JSON."""
    return json.dumps(stats(node), separators=(",", ":"))


def stats(node: Node) -> dict[str, Any]:
    """The same as plain data."""
    now = time.monotonic()
    memory = psutil.virtual_memory()
    return {
        "pid": os.getpid(),
        "max_runners": node.context.settings.max_runners,
        "criu": node.context.criu.version_text if node.context.criu else "",
        "direct": node.leases.stats(),
        "in_flight": node.in_flight.running,
        "unconfirmed": node.in_flight.unconfirmed,
        "unconfirmed_bytes": node.in_flight.unconfirmed_bytes,
        "memory_total_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "runners": [
            {
                "id": runner.id,
                "function": pool.revision.spec.name,
                "function_id": pool.function_id,
                "app_id": pool.app_id,
                "state": runner.state.value,
                "strategy": runner.strategy.value,
                "inputs": runner.inputs_done,
                "pid": runner.channel.pid,
                "idle_s": round(now - runner.idle_since, 1) if runner.state.value == "idle" else 0,
                "age_s": round((now_ns() - runner.began_ns) / 1e9, 1),
                "pss_bytes": _measured_pss(node, runner.id),
            }
            for pool in node.inventory.pools.values()
            for runner in pool.runners.values()
        ],
        "pools": [
            {
                "function": pool.revision.spec.name,
                "function_id": pool.function_id,
                "app_id": pool.app_id,
                "waiting": len(pool.waiting),
                "starting": pool.runners.starting,
                "service_s": pool.dispatcher.pace.service_s,
                **pool.backoff.report(),
            }
            for pool in node.inventory.pools.values()
        ],
        "templates": [
            {
                "id": revision.template.id,
                "function": revision.spec.name,
                "app": revision.spec.app_name,
                "pid": revision.template.channel.pid,
            }
            for revision in node.inventory.revisions.values()
            if revision.template is not None and not revision.template.gone.is_set()
        ],
        "snapshots": [
            {
                "function": revision.spec.name,
                "app": revision.spec.app_name,
                "state": revision.tracker.state.value,
                "reason": revision.tracker.reason,
                "key": revision.tracker.snapshot.key if revision.tracker.snapshot else "",
                "fork_unsafe": revision.fork_unsafe or [],
                "progress": revision.tracker.progress(),
            }
            for revision in node.inventory.revisions.values()
            if revision.snapshots_enabled
        ],
        "memory": report(node.budget),
        "evictions": dict(node.budget.counts),
        "held": report_pools(node.inventory, node.budget.memory),
        "starts": node.history.news(),
        "counters": node.history.counters(),
        "restores": dict(node.context.restores),
        "measured_pss_bytes": dict(node.history.measured_pss),
    }


def _measured_pss(node: Node, runner_id: str) -> int:
    """Zero where it was not measured yet."""
    reading = node.budget.memory.runners.get(runner_id)
    return reading.share.pss if reading is not None else 0
