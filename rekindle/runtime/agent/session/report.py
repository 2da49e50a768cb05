"""What an agent reports of itself in its heartbeat."""

from __future__ import annotations

import os
import time

import psutil

from rekindle.runtime.agent.node import Node
from rekindle.runtime.agent.scheduling.budget import report, report_pools
from rekindle.runtime.agent.session.gpu_report import of_node, of_runner
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import now_ns


def stats(node: Node) -> pb.NodeStats:
    """Runners, templates, snapshots and memory."""
    now = time.monotonic()
    context = node.context
    machine, memory = psutil.virtual_memory(), node.budget.memory
    return pb.NodeStats(
        pid=os.getpid(),
        max_runners=context.settings.max_runners,
        criu=context.criu.version if context.criu else "",
        direct=node.leases.stats(),
        in_flight=node.in_flight.running,
        unconfirmed=node.in_flight.unconfirmed,
        unconfirmed_bytes=node.in_flight.unconfirmed_bytes,
        memory_total_bytes=machine.total,
        memory_available_bytes=machine.available,
        runners=[
            pb.RunnerStats(
                id=runner.id,
                function=pool.revision.label,
                function_id=pool.function_id,
                app_id=pool.app_id,
                state=runner.state.value,
                strategy=runner.strategy.value,
                inputs=runner.inputs_done,
                pid=runner.channel.pid,
                idle_s=round(now - runner.idle_since, 1) if runner.state.value == "idle" else 0,
                age_s=round((now_ns() - runner.began_ns) / 1e9, 1),
                pss_bytes=share.pss if (share := memory.share(runner.id)) else 0,
                gpus=of_runner(context, runner),
            )
            for pool in node.inventory.pools.values()
            for runner in pool.runners.values()
        ],
        pools=[
            pb.PoolStats(
                function=pool.revision.spec.name,
                function_id=pool.function_id,
                app_id=pool.app_id,
                waiting=len(pool.waiting),
                starting=pool.runners.starting,
                service_s=pool.dispatcher.pace.service_s,
                failed_starts=pool.backoff.failed_starts,
                deaths=pool.backoff.deaths,
                backoff_s=round(pool.backoff.left_s(), 1),
            )
            for pool in node.inventory.pools.values()
        ],
        templates=[
            pb.TemplateStats(
                id=revision.template.id,
                function=revision.spec.name,
                app=revision.spec.app_name,
                pid=revision.template.channel.pid,
                params=revision.params_digest,
            )
            for revision in node.inventory.revisions.values()
            if revision.template is not None and not revision.template.gone.is_set()
        ],
        snapshots=[
            pb.SnapshotStats(
                function=revision.spec.name,
                app=revision.spec.app_name,
                state=revision.tracker.state.value,
                reason=revision.tracker.reason,
                key=revision.tracker.snapshot.key if revision.tracker.snapshot else "",
                fork_unsafe=revision.fork_unsafe,
                progress=revision.tracker.progress(),
                params=revision.params_digest,
            )
            for revision in node.inventory.revisions.values()
            if revision.snapshots_enabled
        ],
        memory=report(node.budget),
        evictions=node.budget.counts,
        held=report_pools(node.inventory, memory, context.gpu_use.most),
        starts=node.history.news(),
        runners_lost=node.history.runners_lost(),
        restores={one: pb.RestoreSteps(**steps) for one, steps in context.restores.items()},
        measured_pss_bytes=node.history.measured_pss,
        gpus=of_node(context) if context.gpus.found.gpus else None,
    )
