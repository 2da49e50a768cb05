"""What is new in an agent's heartbeat: starts, evictions, direct calls, each reported once.

Heartbeats repeat themselves and report totals, as any of them may be lost. Decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from rekindle.controller.state import Agent
from rekindle.wire import rekindle_pb2 as pb


@dataclass(frozen=True, slots=True)
class News:
    """Since the heartbeat before; with the first, since the agent started."""

    starts: list[pb.RunnerStart]
    evictions: list[pb.Eviction]  # what was given up for memory
    direct: list[tuple[str, int, float]]  # function id, calls, seconds that they ran


def news_of(agent: Agent, stats: pb.NodeStats) -> News:
    """What a heartbeat adds to that before it, which ``agent.stats`` is; noted as seen."""
    seen = agent.seen
    news = News(
        [one for one in stats.starts if one.seq > seen.start],
        [one for one in stats.memory.evicted if one.seq > seen.eviction],
        [],
    )
    seen.start = max([seen.start, *(one.seq for one in news.starts)])
    seen.eviction = max([seen.eviction, *(one.seq for one in news.evictions)])
    for function_id, total in stats.direct.items():
        before = agent.stats.direct.get(function_id, pb.DirectCalls())
        if total.calls > before.calls:
            busy_s = max(0.0, total.busy_s - before.busy_s)
            news.direct.append((function_id, total.calls - before.calls, busy_s))
    return news
