"""Which agent keeps how many runners of a pool, and how many it may have. Pure functions.

``max_containers`` holds over all agents: each has its share of it, and a share grows only when the
runners that another has over its own are gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class AgentCapacity(NamedTuple):
    """An agent, as far as sharing goes."""

    agent_id: str
    max_runners: int
    present: int  # runners of the pool that it says it has


class Share(NamedTuple):
    """What one agent is asked for."""

    runners: int  # kept however quiet it is
    most: int | None  # None: no limit


def shares(runners: int, most: int | None, nodes: Sequence[AgentCapacity]) -> dict[str, Share]:
    """Each agent's share; ``nodes`` in the order in which they are filled."""
    kept = _filled(runners if most is None else min(runners, most), nodes)
    if most is None:
        return {node.agent_id: Share(kept[node.agent_id], None) for node in nodes}
    target = _filled(most, nodes)
    made = {}
    for node in nodes:
        elsewhere = sum(
            max(target[other.agent_id], other.present) for other in nodes if other is not node
        )
        limit = max(0, min(target[node.agent_id], most - elsewhere))
        made[node.agent_id] = Share(min(kept[node.agent_id], limit), limit)
    return made


def settled(most: int | None, nodes: Sequence[AgentCapacity]) -> bool:
    """Whether no one has more than its share, so that nothing has to be looked at again."""
    if most is None:
        return True
    target = _filled(most, nodes)
    return all(node.present <= target[node.agent_id] for node in nodes)


def _filled(total: int, nodes: Sequence[AgentCapacity]) -> dict[str, int]:
    made = {}
    for node in nodes:
        made[node.agent_id] = min(total, node.max_runners)
        total -= made[node.agent_id]
    return made
