"""What is new in an agent's heartbeat: starts, evictions, direct calls, each reported once.

Heartbeats repeat themselves and report totals, as any of them may be lost. Decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from rekindle.controller.state import Agent
from rekindle.wire import rekindle_pb2 as pb


class DirectNews(NamedTuple):
    """Direct calls of one pool."""

    function_id: str
    params: bytes
    calls: int
    busy_s: float  # that they ran


@dataclass(frozen=True, slots=True)
class News:
    """Since the heartbeat before; with the first, since the agent started."""

    starts: list[pb.RunnerStart]
    evictions: list[pb.Eviction]  # what was given up for memory
    direct: list[DirectNews]


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
    before = {(one.function_id, one.params): one for one in agent.stats.direct}
    for total in stats.direct:
        known = before.get((total.function_id, total.params), pb.DirectCalls())
        if total.calls > known.calls:
            calls, busy_s = total.calls - known.calls, max(0.0, total.busy_s - known.busy_s)
            news.direct.append(DirectNews(total.function_id, total.params, calls, busy_s))
    return news
