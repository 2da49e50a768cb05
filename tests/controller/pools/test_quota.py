"""Sharing a pool's runners among agents: never more than the limit, the minimum where it fits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rekindle.controller.pools.quota import AgentCapacity, settled, shares


def test_one_agent_has_all() -> None:
    made = shares(2, 5, [AgentCapacity("a", 8, 0)])
    assert made["a"] == (2, 5)


def test_without_a_limit_everybody_may_and_the_first_keeps_the_minimum() -> None:
    made = shares(3, None, [AgentCapacity("a", 8, 0), AgentCapacity("b", 8, 0)])
    assert made == {"a": (3, None), "b": (0, None)}


def test_what_does_not_fit_on_the_first_goes_to_the_next() -> None:
    made = shares(3, 6, [AgentCapacity("a", 2, 0), AgentCapacity("b", 8, 0)])
    assert made == {"a": (2, 2), "b": (1, 4)}


def test_a_share_waits_for_runners_that_another_agent_still_has() -> None:
    nodes = [AgentCapacity("a", 8, 0), AgentCapacity("b", 8, 2)]
    assert shares(0, 2, nodes) == {"a": (0, 0), "b": (0, 0)}
    assert not settled(2, nodes)
    nodes = [AgentCapacity("a", 8, 0), AgentCapacity("b", 8, 0)]
    assert shares(0, 2, nodes)["a"] == (0, 2)
    assert settled(2, nodes)


@given(
    st.integers(0, 20),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), min_size=1, max_size=5),
)
def test_shares_and_what_is_there_never_exceed_the_limit_by_what_is_new(
    runners: int, most: int, raw: list[tuple[int, int]]
) -> None:
    nodes = [AgentCapacity(f"a{i}", size, present) for i, (size, present) in enumerate(raw)]
    made = shares(runners, most, nodes)
    # Whoever may start one more, starting it leaves the whole within the limit.
    for node in nodes:
        limit = made[node.agent_id].most
        assert limit is not None
        assert made[node.agent_id].runners <= limit
        if limit > node.present:
            others = sum(other.present for other in nodes if other is not node)
            assert limit + others <= most
    assert sum(share.most or 0 for share in made.values()) <= most
