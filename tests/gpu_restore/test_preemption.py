"""Who makes room on a GPU for a request that nothing is free for."""

from __future__ import annotations

from rekindle.gpu_restore.placement.devices import Fleet
from rekindle.gpu_restore.placement.packing import (
    BestFit,
)
from rekindle.gpu_restore.placement.preemption import preempt
from rekindle.gpu_restore.request import parse
from tests.gpu_restore import machines
from tests.gpu_restore.placed import place


def victims(
    fleet: Fleet,
    gpu: object,
    priority: int,
    memory: int | None = None,
    *,
    idle: tuple[str, ...] = (),
    kept: tuple[str, ...] = (),
) -> list[str]:
    found = preempt(
        fleet,
        parse(gpu, memory),
        priority,
        BestFit(),
        is_idle=lambda one: one.owner in idle,
        may_go=lambda one: one.owner not in kept,
    )
    return sorted(one.owner for one in found.victims) if found else []


def test_the_lowest_priority_goes_and_of_these_the_youngest() -> None:
    fleet = machines.fleet("four_a10g")
    for owner, priority, since in (("a", 1, 0.0), ("b", 0, 10.0), ("c", 0, 20.0), ("d", 2, 30.0)):
        place(fleet, "A10G", owner=owner, priority=priority, since=since)
    assert victims(fleet, "A10G", 3) == ["c"]
    assert victims(fleet, "A10G:2", 3) == ["b", "c"]
    assert victims(fleet, "A10G:3", 2) == ["a", "b", "c"]
    assert victims(fleet, "A10G:4", 2) == []


def test_none_of_the_same_priority_goes() -> None:
    fleet = machines.fleet("one_t4")
    place(fleet, "T4", owner="a", priority=1)
    assert victims(fleet, "T4", 1) == []
    assert victims(fleet, "T4", 2) == ["a"]


def test_who_is_idle_goes_before_all_others_whatever_its_priority() -> None:
    fleet = machines.fleet("two_rtx_4090")
    place(fleet, "any", owner="busy")
    place(fleet, "any", owner="idle", priority=5)
    assert victims(fleet, "any", 1, idle=("idle",)) == ["idle"]
    assert victims(fleet, "any", 1, idle=("idle",), kept=("idle",)) == ["busy"]
    assert victims(fleet, "any:2", 1, idle=("idle",)) == ["busy", "idle"]


def test_no_one_goes_for_what_that_does_not_help() -> None:
    fleet = machines.fleet("two_rtx_4090")
    place(fleet, "any", owner="low")
    place(fleet, "any", owner="high", priority=9)
    assert victims(fleet, "any:2", 5) == []


def test_only_as_many_shares_go_as_it_takes() -> None:
    fleet = machines.fleet("one_t4")
    for i in range(5):
        place(fleet, "any", 3000, owner=f"share-{i}", since=float(i))
    assert victims(fleet, "any", 1, 4000) == ["share-3", "share-4"]
    assert len(victims(fleet, "T4", 1)) == 5


def test_a_group_is_taken_where_the_fewest_go() -> None:
    fleet = machines.fleet("four_a10g")
    place(fleet, "A10G", owner="a", since=1.0)
    place(fleet, "A10G", owner="b", since=2.0)
    place(fleet, "A10G", owner="c", since=3.0)
    assert victims(fleet, "A10G:2", 1) == ["c"]  # the fourth is free
