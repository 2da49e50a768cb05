"""Which lent runners are asked back for what waits; no runner and no agent is needed for that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from rekindle.runtime.agent.leases.lease import Lease, LeaseState
from rekindle.runtime.agent.leases.recalls import Recalls
from rekindle.runtime.agent.pools.pace import Pace


@dataclass
class Dispatcher:
    pace: Pace = field(default_factory=Pace)


@dataclass(eq=False)
class Pool:
    """So many inputs wait, the next of them made inside of so many calls."""

    waiting: list[str] = field(default_factory=lambda: ["an input"])
    inside: int = 0
    dispatcher: Dispatcher = field(default_factory=Dispatcher)

    def depth(self) -> int:
        return self.inside


@dataclass
class Runner:
    waits_at: int = -1
    private: bool = False


@dataclass(eq=False)
class Lent:
    """What is looked at of a lease."""

    pool: Pool
    runs: bool = False
    state: LeaseState = LeaseState.HELD
    runner: Runner = field(default_factory=Runner)
    used: float = 0.0
    is_live: bool = True
    running_s: float = 0.0

    def ran_s(self, _at_ns: int) -> float:
        return self.running_s


def recalled(*leases: Lent, stuck: bool = True) -> list[Lent]:
    """Those that are asked back anew."""
    asked: list[Lent] = []

    def recall(lease: Lease) -> None:
        lent = cast(Any, lease)
        lent.state = LeaseState.RECALLED
        asked.append(lent)

    by_id = {str(number): cast(Lease, lease) for number, lease in enumerate(leases)}
    Recalls(by_id, recall).recall_for(cast(Any, leases[0].pool), stuck=stuck)
    return asked


def test_a_runner_that_is_not_called_comes_back_while_one_that_runs_was_asked_back() -> None:
    pool = Pool()
    runs = Lent(pool, runs=True, state=LeaseState.RECALLED)
    unused = Lent(pool)
    assert recalled(runs, unused) == [unused]


def test_what_was_asked_back_and_runs_nothing_is_enough_for_one_input() -> None:
    pool = Pool()
    coming = Lent(pool, state=LeaseState.RECALLED)
    assert recalled(coming, Lent(pool), Lent(pool, runs=True)) == []


def test_a_runner_that_runs_is_asked_back_only_where_none_can_be_started() -> None:
    runs = Lent(Pool(), runs=True)
    assert recalled(runs, stuck=False) == []
    assert recalled(runs) == [runs]


def test_no_second_runner_that_runs_is_asked_back_for_one_input() -> None:
    pool = Pool()
    coming = Lent(pool, runs=True, state=LeaseState.RECALLED)
    assert recalled(coming, Lent(pool, runs=True)) == []


def test_a_runner_whose_call_waits_for_what_waits_is_not_asked_back_for_it() -> None:
    pool = Pool(inside=1)
    outer = Lent(pool, runs=True, runner=Runner(waits_at=0))
    assert recalled(outer) == []


def test_a_runner_whose_call_waits_for_what_waits_is_not_one_that_comes_back() -> None:
    pool = Pool(inside=1)
    outer = Lent(pool, runs=True, state=LeaseState.RECALLED, runner=Runner(waits_at=0))
    recalls = Recalls({"le": cast(Lease, outer)}, lambda lease: None)
    assert recalls.returning(cast(Any, pool)) == 0
    pool.inside = 0
    assert recalls.returning(cast(Any, pool)) == 1


def test_a_runner_whose_call_runs_longer_than_a_start_takes_is_none_to_wait_for() -> None:
    pool = Pool()
    pool.dispatcher.pace.started(0.5)
    asked_back = Lent(pool, state=LeaseState.RECALLED)
    recalls = Recalls({"le": cast(Lease, asked_back)}, lambda lease: None)
    for runs, running_s, soon in [(False, 0.0, 1), (True, 0.4, 1), (True, 0.6, 0)]:
        asked_back.runs, asked_back.running_s = runs, running_s
        assert recalls.returning_soon(cast(Any, pool)) == soon
        assert recalls.returning(cast(Any, pool)) == 1


def test_a_runner_that_ends_with_its_lease_is_not_one_that_is_idle() -> None:
    pool = Pool()
    of_one_call = Lent(pool, runner=Runner(private=True))
    leases = {"0": cast(Lease, of_one_call)}
    recalls = Recalls(leases, lambda _lease: None)
    assert not recalls.has_idle(cast(Any, pool))
    leases["1"] = cast(Lease, Lent(pool))
    assert recalls.has_idle(cast(Any, pool))
