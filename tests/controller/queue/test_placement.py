"""Placement keeps its promises for every set of agents and functions."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.controller.queue.placement import (
    MOST_PER_AGENT,
    MOST_PER_RUNNER,
    Turns,
    choose_agent,
    has_enough,
    portion,
    share,
    weight,
)


@dataclass
class AgentStub:
    """An agent as placement sees it."""

    agent_id: str
    max_runners: int
    prefetch: int = 8
    held: dict[str, int] = field(default_factory=dict)
    warm: dict[str, int] = field(default_factory=dict)

    def room(self, depth: int = 0) -> int:
        return self.max_runners + self.prefetch - sum(self.held.values())

    @property
    def load(self) -> float:
        return sum(self.held.values()) / self.max_runners

    def holds(self, function_id: str, depth: int = 0) -> int:
        return self.held.get(function_id, 0)

    def warmth(self, function_id: str) -> int:
        return self.warm.get(function_id, 0)


@dataclass
class FunctionStub:
    """A function as placement sees it."""

    function_id: str
    units: float
    served: int


FUNCTIONS = ("f", "g")
AGENTS = st.lists(
    st.builds(
        AgentStub,
        agent_id=st.text("abcdef", min_size=1, max_size=6),
        max_runners=st.integers(1, 16),
        held=st.dictionaries(st.sampled_from(FUNCTIONS), st.integers(0, 20)),
        warm=st.dictionaries(st.sampled_from(FUNCTIONS), st.integers(0, 2)),
    ),
    max_size=6,
    unique_by=lambda agent: agent.agent_id,
)
LIMIT = st.none() | st.integers(1, 20)


def may_take(agent: AgentStub, limit: int | None) -> bool:
    """Whether an agent may be given one more input of f."""
    return agent.room() > 0 and agent.holds("f") < share(agent.max_runners, limit)


@given(AGENTS, LIMIT)
def test_an_agent_is_found_exactly_when_one_may_take_the_input(
    agents: list[AgentStub], limit: int | None
) -> None:
    chosen = choose_agent(agents, "f", limit)
    able = [agent for agent in agents if may_take(agent, limit)]
    assert (chosen is not None) == bool(able)
    assert chosen is None or chosen in able


@given(AGENTS, LIMIT)
def test_the_order_of_agents_does_not_matter(agents: list[AgentStub], limit: int | None) -> None:
    assert choose_agent(agents, "f", limit) is choose_agent(agents[::-1], "f", limit)


@given(AGENTS, LIMIT)
def test_no_colder_agent_is_chosen_while_a_warmer_one_is_not_saturated(
    agents: list[AgentStub], limit: int | None
) -> None:
    chosen = choose_agent(agents, "f", limit)
    if chosen is None:
        return
    for agent in agents:
        if may_take(agent, limit) and agent.load < 1.0:
            assert chosen.load < 1.0
            assert chosen.warmth("f") >= agent.warmth("f")


@given(AGENTS, LIMIT)
def test_among_equally_warm_agents_none_is_less_loaded_than_the_chosen(
    agents: list[AgentStub], limit: int | None
) -> None:
    for agent in agents:
        agent.warm.clear()
    chosen = choose_agent(agents, "f", limit)
    if chosen is not None:
        able = [agent for agent in agents if may_take(agent, limit)]
        assert chosen.load == min(agent.load for agent in able)


@given(st.integers(1, 64), LIMIT)
def test_a_share_keeps_the_runners_busy_and_is_bounded(runners: int, limit: int | None) -> None:
    used = runners if limit is None else min(runners, limit)
    assert used < share(runners, limit) <= 2 * runners + 8


@given(st.integers(1, 64), LIMIT, st.floats(1.0, 1e12))
def test_the_shorter_inputs_are_the_more_of_them_an_agent_may_have(
    runners: int, limit: int | None, mean_ns: float
) -> None:
    used = runners if limit is None else min(runners, limit)
    most = share(runners, limit, mean_ns)
    assert share(runners, limit) <= most <= max(MOST_PER_AGENT, share(runners, limit))
    assert most <= max(MOST_PER_RUNNER * used, share(runners, limit))
    assert most >= share(runners, limit, 2 * mean_ns)
    assert most * weight(runners, limit, mean_ns) == pytest.approx(share(runners, limit))


@given(AGENTS, LIMIT, st.floats(0.0, 1e10))
def test_a_portion_is_about_one_unit_and_within_the_share(
    agents: list[AgentStub], limit: int | None, mean_ns: float
) -> None:
    agent = choose_agent(agents, "f", limit, mean_ns)
    if agent is not None:
        count = portion(agent, "f", limit, mean_ns)
        assert count >= 1
        assert count == 1 or count * weight(agent.max_runners, limit, mean_ns) <= 1.0 + 1e-9
        assert agent.holds("f") + count <= share(agent.max_runners, limit, mean_ns)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 9)), min_size=1, max_size=5),
    st.integers(1, 40),
)
def test_no_function_waits_while_others_hold_more(
    queued_and_held: list[tuple[int, int]], slots: int
) -> None:
    queues = [count for count, _ in queued_and_held]
    functions = [FunctionStub(f"f{i}", held, 0) for i, (_, held) in enumerate(queued_and_held)]
    most = max(held for _, held in queued_and_held)
    left = dict(zip([f.function_id for f in functions], queues, strict=True))
    turns = Turns(functions)
    for turn in range(1, slots + 1):
        chosen = turns.next()
        if chosen is None:
            break
        waiting_units = [f.units for f in functions if left[f.function_id]]
        assert chosen.units == min(waiting_units)
        chosen.units += 1
        chosen.served = turn
        left[chosen.function_id] -= 1
        if left[chosen.function_id]:
            turns.again(chosen)
    waiting = [f.units for f in functions if left[f.function_id]]
    if waiting:
        assert max(f.units for f in functions) <= max(most, min(waiting) + 1)


@given(st.permutations(["a", "b", "c"]))
def test_functions_that_hold_equally_much_are_served_in_turn(names: list[str]) -> None:
    functions = [FunctionStub(name, 0, number) for number, name in enumerate(names)]
    for turn in range(3, 12):
        chosen = Turns(functions).next()
        assert chosen is not None and chosen.function_id == names[turn % 3]
        chosen.served = turn  # and its input is done at once


def test_no_function_is_chosen_from_none() -> None:
    none: Turns[FunctionStub] = Turns([])
    assert none.next() is None


def test_an_agent_is_filled_up_once_it_has_done_an_eighth_of_short_inputs() -> None:
    agent = AgentStub("a", 4, prefetch=10**6)
    most = share(4, None, 1e6)
    agent.held["f"] = most
    assert has_enough(agent, "f", None, 1e6)
    agent.held["f"] = most * 6 // 7
    assert not has_enough(agent, "f", None, 1e6)


@given(st.integers(1, 64), LIMIT, st.floats(0, 1e12), st.integers(0, 10**6))
def test_an_agent_without_work_for_its_runners_never_has_enough(
    runners: int, limit: int | None, mean_ns: float, others: int
) -> None:
    few = share(runners, limit)
    agent = AgentStub("a", runners, held={"f": few - 1, "g": others})
    assert not has_enough(agent, "f", limit, mean_ns)


@given(st.integers(1, 64), LIMIT, st.integers(0, 200))
def test_of_slow_inputs_an_agent_gets_the_next_for_each_that_is_done(
    runners: int, limit: int | None, missing: int
) -> None:
    most = share(runners, limit)
    agent = AgentStub("a", runners, prefetch=10**6, held={"f": most - min(missing, most)})
    assert has_enough(agent, "f", limit, 60e9) == (missing == 0)
