"""Which function's input goes next, and to which agent. Pure functions, no I/O.

An agent is preferred that has the function warm, then one that had it (its snapshot or imports
are in the page cache), then the least loaded. Between functions the one with the fewest inputs at
agents goes first, so that one with a long queue cannot starve the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class AgentView(Protocol):
    """What placement looks at in an agent."""

    @property
    def agent_id(self) -> str: ...
    @property
    def max_runners(self) -> int: ...
    @property
    def room(self) -> int: ...
    @property
    def load(self) -> float: ...
    def holds(self, function_id: str) -> int: ...
    def warmth(self, function_id: str) -> int: ...


class FunctionView(Protocol):
    """What placement looks at in a function."""

    @property
    def function_id(self) -> str: ...
    @property
    def outstanding(self) -> int: ...
    @property
    def served(self) -> int: ...


AgentT = TypeVar("AgentT", bound=AgentView)
FunctionT = TypeVar("FunctionT", bound=FunctionView)


def share(max_runners: int, max_containers: int | None) -> int:
    """How many inputs of one function an agent may hold: enough to keep its runners busy."""
    runners = max_runners if max_containers is None else min(max_containers, max_runners)
    return 2 * max(1, runners) + 8


def choose_agent(
    agents: Iterable[AgentT], function_id: str, max_containers: int | None
) -> AgentT | None:
    """The agent that gets the next input of a function; None when none has room for it.

    Warmth counts only while the agent has a runner's worth of capacity left: a queue behind a
    warm agent is slower than a start at an idle one.
    """
    best: AgentT | None = None
    best_rank: tuple[bool, int, float, str] | None = None
    for agent in agents:
        if agent.room <= 0:
            continue
        if agent.holds(function_id) >= share(agent.max_runners, max_containers):
            continue
        saturated = agent.load >= 1.0
        rank = (saturated, -agent.warmth(function_id), agent.load, agent.agent_id)
        if best_rank is None or rank < best_rank:
            best, best_rank = agent, rank
    return best


def choose_function(functions: Iterable[FunctionT]) -> FunctionT | None:
    """The function whose turn it is: fewest inputs at agents, then longest not served."""
    return min(functions, key=lambda f: (f.outstanding, f.served, f.function_id), default=None)
