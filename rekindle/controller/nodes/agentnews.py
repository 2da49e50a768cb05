"""What is new in an agent's heartbeat: starts, evictions, direct calls, each reported once.

Heartbeats repeat themselves and tell totals, as any of them may be lost. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from rekindle.controller.metrics import starts
from rekindle.controller.metrics.starts import Start


class AgentNews:
    """What was heard of each agent so far."""

    def __init__(self) -> None:
        self._starts: dict[str, int] = {}
        self._evictions: dict[str, int] = {}
        self._direct: dict[str, dict[str, tuple[int, float]]] = {}

    def starts(
        self, agent_id: str, stats: Mapping[str, Any]
    ) -> Iterator[tuple[Start, Mapping[str, Any]]]:
        """Starts that are new, each with what the agent reported of it."""
        after = self._starts.get(agent_id, 0)
        raw = {int(entry.get("seq") or 0): entry for entry in entries(stats, "starts")}
        for start in starts.read(stats.get("starts"), after):
            self._starts[agent_id] = max(start.number, self._starts.get(agent_id, 0))
            yield start, raw.get(start.number, {})

    def evictions(self, agent_id: str, stats: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """What was given up for memory since."""
        memory = stats.get("memory")
        after = self._evictions.get(agent_id, 0)
        for entry in entries(memory if isinstance(memory, dict) else {}, "evicted"):
            number = int(entry.get("seq") or 0)
            if number > after:
                self._evictions[agent_id] = max(number, self._evictions.get(agent_id, 0))
                yield entry

    def direct(self, agent_id: str, stats: Mapping[str, Any]) -> Iterator[tuple[str, int, float]]:
        """(function id, calls, seconds that they ran) since the heartbeat before.

        The first one of an agent that this controller hears tells what was before its time.
        """
        told = stats.get("direct")
        first = agent_id not in self._direct
        before = self._direct.setdefault(agent_id, {})
        for function_id, entry in (told if isinstance(told, dict) else {}).items():
            total = (int(entry.get("calls") or 0), float(entry.get("busy_s") or 0.0))
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


def entries(stats: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """A list of objects in a heartbeat; what is none is left out."""
    found = stats.get(name)
    if isinstance(found, list):
        yield from (entry for entry in found if isinstance(entry, dict))
