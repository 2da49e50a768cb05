"""Which function's inputs go next, and to which agent. Pure functions, no I/O.

An agent is preferred that has the function warm, then one that had it (its snapshot or imports
are in the page cache), then the least loaded. Between functions the one with the fewest inputs at
agents goes first, so that one with a long queue cannot starve the others.

An input at a depth, one of a call that was made inside of others, is placed as if what may wait for
it took no room: only what is as deep, or deeper, counts.

Inputs are counted in units: one unit is an input that takes long, or of which nothing is known
yet. Of inputs that take little time an agent may have many, so that its runners do not wait for
the next message; each of them is the smaller a part of a unit.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

#: Work that an agent may have waiting for each runner: enough that it can deal large slices, and
#: that messages to it are few. With less, 64 runners of 10 ms inputs waited for the next message.
AHEAD_NS = 500_000_000
#: However short inputs are: this many for each runner, and for one function at one agent.
MOST_PER_RUNNER = 512
MOST_PER_AGENT = 4096


class AgentView(Protocol):
    """What placement looks at in an agent."""

    @property
    def agent_id(self) -> str: ...
    @property
    def max_runners(self) -> int: ...
    @property
    def load(self) -> float: ...
    def room(self, depth: int) -> float: ...
    def holds(self, function_id: str, depth: int) -> int: ...
    def warmth(self, function_id: str) -> int: ...


class FunctionView(Protocol):
    """What placement looks at in a function."""

    @property
    def function_id(self) -> str: ...
    @property
    def units(self) -> float: ...
    @property
    def served(self) -> int: ...


AgentT = TypeVar("AgentT", bound=AgentView)
FunctionT = TypeVar("FunctionT", bound=FunctionView)


def share(max_runners: int, max_containers: int | None, mean_ns: float = 0.0) -> int:
    """How many inputs of one function an agent may hold: enough to keep its runners busy.

    ``mean_ns`` is what an input takes, 0 where that is not known.
    """
    runners = max_runners if max_containers is None else min(max_containers, max_runners)
    runners = max(1, runners)
    few = 2 * runners + 8
    if mean_ns <= 0:
        return few
    many = int(min(AHEAD_NS / mean_ns, MOST_PER_RUNNER)) * runners
    return max(few, min(many, MOST_PER_AGENT))


def has_enough(
    agent: AgentView, function_id: str, max_containers: int | None, mean_ns: float, depth: int = 0
) -> bool:
    """Whether an agent has work of a function for a while, or no room for much more of it.

    It is filled up when it has not. To give it an input for each that it has done would have each
    travel alone, with all that a message costs.
    """
    few = share(agent.max_runners, max_containers)
    most = share(agent.max_runners, max_containers, mean_ns)
    held, refill = agent.holds(function_id, depth), (most - few) // 8
    if held < few:  # whatever others have there
        return False
    return held > most - max(1, refill) or agent.room(depth) < refill * few / most


def weight(max_runners: int, max_containers: int | None, mean_ns: float) -> float:
    """The part of a unit that an input of a function is at an agent."""
    return share(max_runners, max_containers) / share(max_runners, max_containers, mean_ns)


def choose_agent(
    agents: Iterable[AgentT],
    function_id: str,
    max_containers: int | None,
    mean_ns: float = 0.0,
    depth: int = 0,
) -> AgentT | None:
    """The agent that gets the next inputs of a function; None when none has room for one.

    Warmth counts only while the agent has a runner's worth of capacity left: a queue behind a
    warm agent is slower than a start at an idle one.
    """
    best: AgentT | None = None
    best_rank: tuple[bool, int, float, str] | None = None
    for agent in agents:
        most = share(agent.max_runners, max_containers, mean_ns)
        if agent.room(depth) <= 0 or agent.holds(function_id, depth) >= most:
            continue
        saturated = agent.load >= 1.0
        rank = (saturated, -agent.warmth(function_id), agent.load, agent.agent_id)
        if best_rank is None or rank < best_rank:
            best, best_rank = agent, rank
    return best


def portion(
    agent: AgentView, function_id: str, max_containers: int | None, mean_ns: float, depth: int = 0
) -> int:
    """How many inputs of a function a chosen agent gets at once: about one unit."""
    most = share(agent.max_runners, max_containers, mean_ns)
    each = share(agent.max_runners, max_containers) / most
    left = most - agent.holds(function_id, depth)
    return max(1, min(int(min(1.0, agent.room(depth)) / each), left))


class Turns(Generic[FunctionT]):
    """Functions in the order of their turns: fewest units at agents, then longest not served.

    A heap: of a thousand functions that are due at once, each comes up once where there is no room,
    and no search through all of them goes before it.
    """

    def __init__(self, functions: Iterable[FunctionT]) -> None:
        self._waiting = [_turn(one) for one in functions]
        heapq.heapify(self._waiting)

    def next(self) -> FunctionT | None:
        """The one whose turn it is; it has no other until ``again``. None: all had theirs."""
        return heapq.heappop(self._waiting)[-1] if self._waiting else None

    def again(self, function: FunctionT) -> None:
        """Give a function another turn: it was served, and has more."""
        heapq.heappush(self._waiting, _turn(function))


def _turn(function: FunctionT) -> tuple[float, int, str, FunctionT]:
    return function.units, function.served, function.function_id, function
