"""A view of everything that is measured, at one moment, as tables of numbers.

Counts come from the series; what is held now comes from the state in memory and from what agents
said in their last heartbeat.
"""

from __future__ import annotations

import time

from rekindle.controller.metrics.families import HistogramTable, Table
from rekindle.controller.metrics.metrics import Metrics
from rekindle.controller.metrics.series import CLOSED
from rekindle.controller.state import State
from rekindle.wire import rekindle_pb2 as pb

_FN = ("function",)


def view(metrics: Metrics, state: State, status: pb.StatusReply) -> list[Table | HistogramTable]:
    """The tables. ``status`` is what status.py reports."""
    return [
        *_counts(metrics),
        *_queues(metrics, status),
        *_pools(metrics, state),
        *_nodes(state),
        *_controller(metrics, state, status),
    ]


def _counts(metrics: Metrics) -> list[Table | HistogramTable]:
    done = Table(
        "rekindle_inputs_total",
        "Inputs that have a result for good, by the status of the result.",
        ("function", "status"),
        "counter",
    )
    retries = Table("rekindle_retries_total", "Inputs run once more for retries=.", _FN, "counter")
    again = Table(
        "rekindle_redeliveries_total",
        "Inputs delivered once more because a runner or an agent was lost.",
        _FN,
        "counter",
    )
    direct = Table(
        "rekindle_direct_calls_total",
        "Calls that went from client to runner by a lease, without the controller.",
        _FN,
        "counter",
    )
    busy = Table(
        "rekindle_direct_busy_seconds_total",
        "What runners spent on direct calls.",
        _FN,
        "counter",
    )
    started = Table(
        "rekindle_starts_total", "Runners started.", ("function", "strategy"), "counter"
    )
    failed = Table(
        "rekindle_start_failures_total",
        "Steps of the ladder that failed; the next one was taken, or the start failed.",
        ("function", "strategy", "reason"),
        "counter",
    )
    calls = HistogramTable("rekindle_call_seconds", "Submitted to result stored.", _FN)
    phases = HistogramTable(
        "rekindle_phase_seconds",
        "Phases of calls (queue, load_input, execute, store_result) and of starts (the others).",
        ("function", "phase", "strategy"),
    )
    starts = HistogramTable(
        "rekindle_start_seconds",
        "From the order of a start to a runner that is ready.",
        ("function", "strategy"),
    )
    for series in list(metrics.book):
        label = series.label
        for status, count in series.calls.items():
            done.add((label, status), count)
        if series.direct_calls:
            direct.add((label,), series.direct_calls)
            busy.add((label,), series.direct_seconds)
        if series.retries:
            retries.add((label,), series.retries)
        if series.redeliveries:
            again.add((label,), series.redeliveries)
        for (strategy, reason), count in series.failed_starts.items():
            failed.add((label, strategy, reason), count)
        for strategy, histogram in series.starts.items():
            starts.values[(label, strategy)] = histogram.copy()
            started.add((label, strategy), histogram.count)
        for (phase, strategy), histogram in series.phases.items():
            phases.values[(label, phase, strategy)] = histogram.copy()
        if series.calls:
            calls.values[(label,)] = series.call_seconds.copy()
    return [done, direct, busy, retries, again, started, failed, calls, phases, starts]


def _queues(metrics: Metrics, status: pb.StatusReply) -> list[Table | HistogramTable]:
    inputs = Table(
        "rekindle_queue_inputs",
        "Inputs that are not done: queued, in_flight (at an agent), delayed (before a retry).",
        ("function", "state"),
    )
    oldest = Table(
        "rekindle_queue_oldest_seconds", "Age of the oldest input that is not done.", _FN
    )
    dead = Table("rekindle_dead_letters", "Inputs that were given up and are kept.", _FN)
    for app in status.apps:
        for function in app.functions:
            series = metrics.book.of(function.function_id)
            if series is None:
                continue
            inputs.add((series.label, "queued"), function.queued)
            inputs.add((series.label, "in_flight"), function.in_flight)
            inputs.add((series.label, "delayed"), function.delayed)
            oldest.most((series.label,), function.oldest_s)
            dead.add((series.label,), function.dead)
    if status.dead_of_closed:
        dead.add((CLOSED,), status.dead_of_closed)
    return [inputs, oldest, dead]


def _pools(metrics: Metrics, state: State) -> list[Table | HistogramTable]:
    runners = Table(
        "rekindle_runners", "Runners by what they do.", ("function", "state", "strategy")
    )
    starting = Table("rekindle_runners_starting", "Runners that are being started.", _FN)
    templates = Table("rekindle_templates", "Live templates.", _FN)
    levels = Table(
        "rekindle_pools",
        "Pools by the warmest level that is held: warm, booted, mapped, cached, disk or none.",
        ("function", "level"),
    )
    leases = Table("rekindle_leases", "Runners that are leased to clients.", _FN)
    for agent in state.live_agents():
        for runner in agent.stats.runners:
            if series := metrics.book.of(runner.function_id):
                runners.add((series.label, runner.state, runner.strategy), 1)
        for template in agent.stats.templates:
            if series := metrics.book.of_label(f"{template.app}.{template.function}"):
                templates.add((series.label,), 1)
        for pool in agent.stats.pools:
            if series := metrics.book.of(pool.function_id):
                starting.add((series.label,), pool.starting)
        for function_id, counts in agent.stats.direct.items():
            if series := metrics.book.of(function_id):
                leases.add((series.label,), counts.leases)
        for held in agent.stats.held:
            if series := metrics.book.of(held.function_id):
                levels.add((series.label, held.level), 1)
    return [runners, starting, templates, leases, levels]


def _nodes(state: State) -> list[Table | HistogramTable]:
    memory = Table(
        "rekindle_node_memory_bytes",
        "Memory of a node. Of its templates and runners: rss (shared pages counted in each), pss "
        "(shared pages divided), mapped (the part of pss that lies in files). cached: snapshots in "
        "the page cache. held: what counts against budget. total and available: the machine's.",
        ("node", "kind"),
    )
    store = Table("rekindle_snapshot_store_bytes", "Snapshots on disk.", ("node",))
    snapshots = Table(
        "rekindle_snapshots", "Function revisions by the state of their snapshot.", ("state",)
    )
    room = Table("rekindle_node_max_runners", "Runners that a node may have.", ("node",))
    evictions = Table(
        "rekindle_evictions_total",
        "What was given up because memory was short: idle runners, templates, page cache.",
        ("node", "what"),
        "counter",
    )
    lost = Table(
        "rekindle_runners_lost_total",
        "Runners that ended while they were wanted, by how.",
        ("node", "how"),
        "counter",
    )
    for agent in state.live_agents():
        node, stats = (agent.host,), agent.stats
        room.add(node, agent.max_runners)
        measured = stats.memory
        for kind, size in (
            ("total", stats.memory_total_bytes),
            ("available", stats.memory_available_bytes),
            ("rss", measured.rss_bytes),
            ("pss", measured.pss_bytes),
            ("mapped", measured.mapped_bytes),
            ("cached", measured.cached_bytes),
            ("held", measured.held_bytes),
            ("budget", measured.budget_bytes),
        ):
            memory.add((agent.host, kind), size)
        store.add(node, measured.snapshot_store_bytes)
        for snapshot in stats.snapshots:
            snapshots.add((snapshot.state,), 1)
        for level, count in stats.evictions.items():
            evictions.add((agent.host, level), count)
        for counts in stats.runners_lost.values():
            for how, count in counts.by_reason.items():
                lost.add((agent.host, how), count)
    return [memory, store, snapshots, room, evictions, lost]


def _controller(
    metrics: Metrics, state: State, status: pb.StatusReply
) -> list[Table | HistogramTable]:
    agents = Table("rekindle_agents", "Agents by the state of their connection.", ("state",))
    live = len(state.live_agents())
    agents.add(("connected",), live)
    agents.add(("away",), len(state.agents) - live)
    made: list[Table | HistogramTable] = [agents]

    def gauge(name: str, text: str, value: float) -> None:
        made.append(Table(name, text, (), "gauge", {(): value}))

    gauge("rekindle_apps", "Open apps.", len(state.apps))
    gauge("rekindle_waiting_calls", "Calls whose client waits.", len(state.waiters))
    gauge("rekindle_uptime_seconds", "Since the controller started.", status.uptime_s)
    redis = status.redis
    gauge("rekindle_redis_up", "1 when Redis answers.", float(redis.up))
    if redis.up:
        gauge("rekindle_redis_memory_bytes", "Redis: used_memory.", redis.used_memory)
        gauge(
            "rekindle_redis_aof_ok",
            "1 when its last write to the append-only file went well.",
            float(redis.aof_last_write_status in ("", "ok")),
        )
    lag = "How late the controller's event loop was when it was to be woken."
    made.append(
        HistogramTable(
            "rekindle_event_loop_lag_seconds", lag, (), {(): metrics.lag.histogram.copy()}
        )
    )
    heard = Table("rekindle_agent_heard_seconds", "Since an agent's last message.", ("node",))
    now = time.monotonic()
    for agent in state.agents.values():
        heard.most((agent.host,), now - agent.heard)
    made.append(heard)
    return made
