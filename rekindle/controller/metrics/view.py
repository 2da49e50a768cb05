"""A view of everything that is measured, at one moment, as tables of numbers.

Counts come from the series; what is held now comes from the state in memory and from what agents
reported in their last heartbeat.
"""

from __future__ import annotations

import time

from rekindle.controller.metrics.families import Tables
from rekindle.controller.metrics.metrics import Metrics
from rekindle.controller.metrics.series import CLOSED
from rekindle.controller.state import State
from rekindle.wire import rekindle_pb2 as pb

#: Kind, name (labels) and help of each metric, in the order of the text.
_METRICS = """
counter rekindle_inputs_total (function, status) Inputs with a result for good, by its status.
counter rekindle_direct_calls_total (function) Calls from client to runner, by a lease.
counter rekindle_direct_busy_seconds_total (function) What runners spent on direct calls.
counter rekindle_retries_total (function) Inputs run once more for retries=.
counter rekindle_redeliveries_total (function) Inputs placed again: a runner or agent was lost.
counter rekindle_starts_total (function, strategy) Runners started.
counter rekindle_start_failures_total (function, strategy, reason) Steps of the ladder that failed.
histogram rekindle_call_seconds (function) Submitted to result stored.
histogram rekindle_phase_seconds (function, phase, strategy) Phases of calls and of starts.
histogram rekindle_start_seconds (function, strategy) From the order to a runner that is ready.
gauge rekindle_queue_inputs (function, state) Inputs not done: queued, in_flight or delayed.
gauge rekindle_queue_oldest_seconds (function) Age of the oldest input that is not done.
gauge rekindle_dead_letters (function) Inputs that were given up and are kept.
gauge rekindle_runners (function, state, strategy) Runners by what they do.
gauge rekindle_runners_starting (function) Runners that are being started.
gauge rekindle_templates (function) Live templates.
gauge rekindle_spares (function) Forked children of templates that wait for a start.
gauge rekindle_leases (function) Runners that are leased to clients.
gauge rekindle_pools (function, level) Pools by the warmest level that is held.
gauge rekindle_node_memory_bytes (node, kind) By kind; rss, pss, mapped: of templates and runners.
gauge rekindle_snapshot_store_bytes (node) Snapshots on disk.
gauge rekindle_snapshots (state) Function revisions by the state of their snapshot.
gauge rekindle_node_max_runners (node) Runners that a node may have.
gauge rekindle_gpu_memory_bytes (node, gpu, model, kind) Of each GPU: total, used, foreign.
gauge rekindle_gpu_busy_ratio (node, gpu, model) Of the last period in which a kernel ran.
gauge rekindle_gpu_held_ratio (node, gpu, model) The part of it that runners hold.
gauge rekindle_gpu_lent (node, gpu, model, to) Lent to a spare or a snapshot that is made: 1.
gauge rekindle_gpu_weights_bytes (node, gpu, model, function) Held on it, for runners to share.
gauge rekindle_gpu_weights_users (node, gpu, model, function) Runners that use them.
gauge rekindle_runner_gpus (function) GPUs that runners hold; a share is a part of one.
gauge rekindle_runner_gpu_memory_bytes (function) Memory of GPUs that runners use.
gauge rekindle_gpu_waiting_pools (node) Pools that wait for a GPU.
counter rekindle_gpu_preemptions_total (node) Runners that made room for a higher priority.
counter rekindle_evictions_total (node, what) What was given up because memory was short.
counter rekindle_runners_lost_total (node, how) Runners that ended while they were wanted.
gauge rekindle_agents (state) Agents by the state of their connection.
gauge rekindle_apps () Open apps.
gauge rekindle_waiting_calls () Calls whose client waits.
gauge rekindle_uptime_seconds () Since the controller started.
gauge rekindle_redis_up () 1 when Redis answers.
gauge rekindle_redis_memory_bytes () Redis: used_memory.
gauge rekindle_redis_aof_ok () 1 when its last write to the append-only file went well.
gauge rekindle_objects (kind) Dicts and Queues.
gauge rekindle_object_items (kind, environment, name) Entries of a Dict, items of a Queue.
gauge rekindle_object_bytes (kind, environment, name) What these take; of a Dict about.
counter rekindle_object_operations_total (kind, environment, name, op) Entries or items by op.
gauge rekindle_queue_partitions (environment, name) Partitions of a Queue.
gauge rekindle_queue_waiting (environment, name) Requests that wait at a Queue.
gauge rekindle_objects_direct () 1 when programs use Dict and Queue in Redis themselves.
counter rekindle_objects_barred_total () Programs that could not reach Redis for that.
histogram rekindle_event_loop_lag_seconds () How late the controller's event loop was woken.
gauge rekindle_agent_heard_seconds (node) Since an agent's last message.
"""


def view(metrics: Metrics, state: State, status: pb.StatusReply) -> Tables:
    """The tables. ``status`` is what status.py reports."""
    made = Tables(_METRICS)
    _counts(made, metrics)
    _queues(made, metrics, status)
    _pools(made, metrics, state)
    _nodes(made, state)
    _controller(made, metrics, state, status)
    if status.HasField("objects"):
        _objects(made, status.objects)
    return made


def _objects(made: Tables, objects: pb.ObjectsStatus) -> None:
    made.add("rekindle_objects_direct", not objects.through_controller)
    made.add("rekindle_objects_barred_total", objects.barred)
    for one in objects.objects:
        made.add("rekindle_objects", 1, one.kind)
        place = (one.environment, one.name or "(ephemeral)")
        made.add("rekindle_object_items", one.count, one.kind, *place)
        made.add("rekindle_object_bytes", one.size_bytes, one.kind, *place)
        if one.kind == "queue":
            made.add("rekindle_queue_partitions", one.partitions, *place)
            made.add("rekindle_queue_waiting", one.waiting, *place)
        for op, count in one.operations.items() if one.name else ():  # those of others go with them
            made.add("rekindle_object_operations_total", count, one.kind, *place, op)


def _counts(made: Tables, metrics: Metrics) -> None:
    for series in list(metrics.book):
        label = series.label
        for status, count in series.calls.items():
            made.add("rekindle_inputs_total", count, label, status)
        if series.direct_calls:
            made.add("rekindle_direct_calls_total", series.direct_calls, label)
            made.add("rekindle_direct_busy_seconds_total", series.direct_seconds, label)
        if series.retries:
            made.add("rekindle_retries_total", series.retries, label)
        if series.redeliveries:
            made.add("rekindle_redeliveries_total", series.redeliveries, label)
        for (strategy, reason), count in series.failed_starts.items():
            made.add("rekindle_start_failures_total", count, label, strategy, reason)
        for strategy, histogram in series.starts.items():
            made.put("rekindle_start_seconds", histogram, label, strategy)
            made.add("rekindle_starts_total", histogram.count, label, strategy)
        for (phase, strategy), histogram in series.phases.items():
            made.put("rekindle_phase_seconds", histogram, label, phase, strategy)
        if series.calls:
            made.put("rekindle_call_seconds", series.call_seconds, label)


def _queues(made: Tables, metrics: Metrics, status: pb.StatusReply) -> None:
    for app in status.apps:
        for function in app.functions:
            series = metrics.book.of(function.function_id)
            if series is None:
                continue
            for name in ("queued", "in_flight", "delayed"):
                made.add("rekindle_queue_inputs", getattr(function, name), series.label, name)
            made.most("rekindle_queue_oldest_seconds", function.oldest_s, series.label)
            made.add("rekindle_dead_letters", function.dead, series.label)
    if status.dead_of_closed:
        made.add("rekindle_dead_letters", status.dead_of_closed, CLOSED)


def _pools(made: Tables, metrics: Metrics, state: State) -> None:
    of = metrics.book.of
    for agent in state.live_agents():
        for runner in agent.stats.runners:
            if series := of(runner.function_id):
                made.add("rekindle_runners", 1, series.label, runner.state, runner.strategy)
                if runner.HasField("gpus"):
                    made.add("rekindle_runner_gpus", runner.gpus.gpus, series.label)
                    used = runner.gpus.used_bytes
                    made.add("rekindle_runner_gpu_memory_bytes", used, series.label)
        for template in agent.stats.templates:
            if series := metrics.book.of_label(f"{template.app}.{template.function}"):
                made.add("rekindle_templates", 1, series.label)
        for pool in agent.stats.pools:
            if series := of(pool.function_id):
                made.add("rekindle_runners_starting", pool.starting, series.label)
        for direct in agent.stats.direct:
            if series := of(direct.function_id):
                made.add("rekindle_leases", direct.leases, series.label)
        for held in agent.stats.held:
            if series := of(held.function_id):
                made.add("rekindle_pools", 1, series.label, held.level)
                made.add("rekindle_spares", held.spares, series.label)


def _nodes(made: Tables, state: State) -> None:
    for agent in state.live_agents():
        node, stats = agent.host, agent.stats
        made.add("rekindle_node_max_runners", agent.max_runners, node)
        for kind in ("total", "available"):
            size = getattr(stats, f"memory_{kind}_bytes")
            made.add("rekindle_node_memory_bytes", size, node, kind)
        for kind in ("rss", "pss", "mapped", "cached", "held", "budget"):
            size = getattr(stats.memory, f"{kind}_bytes")
            made.add("rekindle_node_memory_bytes", size, node, kind)
        _gpus(made, node, stats)
        made.add("rekindle_snapshot_store_bytes", stats.memory.snapshot_store_bytes, node)
        for snapshot in stats.snapshots:
            made.add("rekindle_snapshots", 1, snapshot.state)
        for level, count in stats.evictions.items():
            made.add("rekindle_evictions_total", count, node, level)
        for counts in stats.runners_lost.values():
            for how, count in counts.by_reason.items():
                made.add("rekindle_runners_lost_total", count, node, how)


def _gpus(made: Tables, node: str, stats: pb.NodeStats) -> None:
    held: dict[str, float] = {}
    for runner in stats.runners:
        for uuid in runner.gpus.uuids:
            part = runner.gpus.gpus if runner.gpus.share_bytes else 1.0
            held[uuid] = held.get(uuid, 0.0) + part
    for one in stats.gpus.devices:
        for kind in ("memory", "used", "foreign"):
            size, name = getattr(one, f"{kind}_bytes"), "total" if kind == "memory" else kind
            made.add("rekindle_gpu_memory_bytes", size, node, one.uuid, one.model, name)
        if one.HasField("busy_percent"):
            busy = one.busy_percent / 100
            made.add("rekindle_gpu_busy_ratio", busy, node, one.uuid, one.model)
        part = min(1.0, held.get(one.uuid, 0.0))
        made.add("rekindle_gpu_held_ratio", part, node, one.uuid, one.model)
        for loan in one.loans:
            made.add("rekindle_gpu_lent", 1, node, one.uuid, one.model, loan.to)
        for weights in one.holder.weights:
            label = (node, one.uuid, one.model, weights.function)
            made.add("rekindle_gpu_weights_bytes", weights.size_bytes, *label)
            made.add("rekindle_gpu_weights_users", weights.users, *label)
    if stats.HasField("gpus"):
        made.add("rekindle_gpu_waiting_pools", stats.gpus.waiting, node)
        made.add("rekindle_gpu_preemptions_total", stats.gpus.preemptions, node)


def _controller(made: Tables, metrics: Metrics, state: State, status: pb.StatusReply) -> None:
    live = len(state.live_agents())
    made.add("rekindle_agents", live, "connected")
    made.add("rekindle_agents", len(state.agents) - live, "away")
    made.add("rekindle_apps", len(state.apps))
    made.add("rekindle_waiting_calls", len(state.waiters))
    made.add("rekindle_uptime_seconds", status.uptime_s)
    redis = status.redis
    made.add("rekindle_redis_up", redis.up)
    if redis.HasField("used_memory"):  # it says nothing of itself to a user who may not ask
        made.add("rekindle_redis_memory_bytes", redis.used_memory)
        made.add("rekindle_redis_aof_ok", redis.aof_last_write_status in ("", "ok"))
    made.put("rekindle_event_loop_lag_seconds", metrics.lag.histogram)
    for agent in state.agents.values():
        made.most("rekindle_agent_heard_seconds", time.monotonic() - agent.heard, agent.host)
