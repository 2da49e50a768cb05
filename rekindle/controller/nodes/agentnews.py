"""What is new in an agent's heartbeat: starts, evictions, direct calls, each reported once.

Heartbeats repeat themselves and tell totals, as any of them may be lost. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from rekindle.controller.metrics import starts
from rekindle.controller.metrics.starts import Start
from rekindle.controller.state import Agent
from rekindle.wire import rekindle_pb2 as pb


class AgentNews:
    """What was heard of each agent so far."""

    def __init__(self) -> None:
        self._starts: dict[str, int] = {}
        self._evictions: dict[str, int] = {}
        self._direct: dict[str, dict[str, tuple[int, float]]] = {}

    def starts(self, agent: Agent) -> Iterator[Start]:
        """Starts that are new."""
        for start in starts.read(agent.stats.starts, self._starts.get(agent.agent_id, 0)):
            self._starts[agent.agent_id] = start.number
            yield start

    def evictions(self, agent: Agent) -> Iterator[pb.Eviction]:
        """What was given up for memory since."""
        for entry in agent.stats.memory.evicted:
            if entry.seq > self._evictions.get(agent.agent_id, 0):
                self._evictions[agent.agent_id] = entry.seq
                yield entry

    def direct(self, agent: Agent) -> Iterator[tuple[str, int, float]]:
        """(function id, calls, seconds that they ran) since the heartbeat before.

        The first one of an agent that this controller hears tells what was before its time.
        """
        first = agent.agent_id not in self._direct
        before = self._direct.setdefault(agent.agent_id, {})
        for function_id, entry in agent.stats.direct.items():
            total = (entry.calls, entry.busy_s)
            calls, busy_s = before.get(function_id, total if first else (0, 0.0))
            before[function_id] = total
            if total[0] > calls:
                yield function_id, total[0] - calls, max(0.0, total[1] - busy_s)

    def forget_but(self, agents: Collection[str]) -> None:
        """Agents that are gone."""
        tables: list[dict[str, Any]] = [self._starts, self._evictions, self._direct]
        for table in tables:
            for agent_id in [one for one in table if one not in agents]:
                del table[agent_id]
