"""Which GPUs a request gets, on recorded machines."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rekindle.exception import InternalFailure
from rekindle.gpu_restore.links import Level
from rekindle.gpu_restore.placement.devices import Device, Fleet, Holding, shares_of
from rekindle.gpu_restore.placement.line import PATIENCE_S, Line
from rekindle.gpu_restore.placement.options import Option, options, why_never
from rekindle.gpu_restore.placement.packing import (
    BestFit,
    LeastFragmentation,
    WorstFit,
    choose,
    make,
    policies,
)
from rekindle.gpu_restore.request import parse
from tests.gpu_restore import machines
from tests.gpu_restore.placed import place

ALL = [pytest.param(one.name, id=one.name) for one in policies()]


def taken(option: Option | None) -> list[int]:
    assert option is not None
    return machines.indexes(option.devices)


# ---- whole devices -------------------------------------------------------------------------


@pytest.mark.parametrize("packing", ALL)
def test_whole_devices_have_one_owner(packing: str) -> None:
    fleet = machines.fleet("four_a10g")
    got = [place(fleet, "A10G", packing=make(packing)) for _ in range(5)]
    assert sorted(taken(one)[0] for one in got[:4]) == [0, 1, 2, 3]
    assert got[4] is None


def test_what_is_released_can_be_taken_again() -> None:
    fleet = machines.fleet("one_t4")
    place(fleet, "T4", owner="first")
    assert place(fleet, "T4") is None
    fleet.release("first")
    assert taken(place(fleet, "T4")) == [0]
    assert fleet.release("nobody") is None


def test_devices_that_are_held_cannot_be_taken() -> None:
    fleet = machines.fleet("one_t4")
    device = next(fleet.devices())
    fleet.take(Holding(owner="one", devices=(device,), memory_mib=1000))
    with pytest.raises(InternalFailure):
        fleet.take(Holding(owner="other", devices=(device,)))
    with pytest.raises(InternalFailure):
        fleet.take(Holding(owner="other", devices=(device,), memory_mib=15_000))
    with pytest.raises(InternalFailure):
        fleet.take(Holding(owner="one", devices=(device,), memory_mib=1))


def test_lists_are_tried_in_their_order() -> None:
    fleet = machines.fleet("one_t4", "four_a10g", "one_h200")
    names = [place(fleet, ["H100", "A10", "any"]) for _ in range(6)]
    assert [one.devices[0].model for one in names if one] == ["H200", *["A10G"] * 4, "T4"]


def test_the_model_asked_for_goes_before_one_in_its_place() -> None:
    fleet = machines.fleet("one_h200", "eight_h100_nvswitch")
    first = place(fleet, "H100")
    assert first is not None and first.devices[0].model == "H100"
    assert place(machines.fleet("one_h200"), "H100!") is None


def test_any_takes_the_smallest_that_does() -> None:
    fleet = machines.fleet("one_h200", "one_t4", "two_rtx_4090")
    order = [place(fleet, "any") for _ in range(4)]
    assert [one.devices[0].model for one in order if one] == ["T4", "RTX-4090", "RTX-4090", "H200"]


def test_several_of_any_model_are_of_one_model() -> None:
    fleet = machines.fleet("one_h200", "one_t4", "two_rtx_4090")
    both = place(fleet, "any:2")
    assert both is not None and {one.model for one in both.devices} == {"RTX-4090"}
    assert place(fleet, "any:2") is None


# ---- links ---------------------------------------------------------------------------------


def test_pairs_are_the_best_linked_ones() -> None:
    fleet = machines.fleet("eight_v100_mesh")
    for _ in range(4):
        pair = place(fleet, "V100:2")
        assert pair is not None
        link = pair.node.link(*pair.devices)
        assert (link.level, link.nvlinks) == (Level.NVLINK, 2)


def test_four_are_all_linked_where_that_can_be() -> None:
    four = place(machines.fleet("eight_v100_mesh"), "V100:4")
    assert four is not None
    far, nvlinks, *_ = four.linkage()
    assert (far, nvlinks) == (0, -9)


def test_first_fit_does_not_look_at_links() -> None:
    fleet = machines.fleet("eight_v100_mesh")
    pair = place(fleet, "V100:2", packing=make("first-fit"))
    assert pair is not None and pair.node.link(*pair.devices).nvlinks == 1


def test_where_there_is_no_nvlink_a_pcie_switch_joins_then_the_numa_node() -> None:
    fleet = machines.fleet("eight_l4")
    assert taken(place(fleet, "L4:2")) in ([0, 1], [2, 3], [4, 5], [6, 7])
    four = place(machines.fleet("eight_l4"), "L4:4")
    assert four is not None and len({one.numa_node for one in four.devices}) == 1


def test_one_device_is_taken_where_it_breaks_up_the_least() -> None:
    fleet = machines.fleet("eight_l4")
    assert taken(place(fleet, "L4")) == [0]
    assert taken(place(fleet, "L4")) == [1]  # the other one of that switch, not of a whole pair


def test_a_group_is_never_split_over_nodes() -> None:
    fleet = machines.fleet("two_rtx_4090", "two_rtx_4090")
    place(fleet, "any")
    place(fleet, "any", packing=WorstFit())
    assert place(fleet, "any:2") is None


def test_nodes_that_are_begun_are_filled_up_first() -> None:
    fleet = machines.fleet("four_a100_nvlink", "four_a100_nvlink")
    nodes = [place(fleet, "A100:2") for _ in range(4)]
    assert [one.node.name[-1] for one in nodes if one] == ["0", "0", "1", "1"]


# ---- shares and instances ------------------------------------------------------------------


def test_best_fit_puts_shares_together_and_worst_fit_spreads_them() -> None:
    for packing, expected in ((BestFit(), [0, 0, 0, 1]), (WorstFit(), [0, 1, 2, 3])):
        fleet = machines.fleet("four_a10g")
        got = [place(fleet, "any", 7000, packing=packing) for _ in range(4)]
        assert [taken(one)[0] for one in got] == expected, packing.name


@pytest.mark.parametrize("packing", ALL)
def test_shares_and_whole_devices_keep_apart(packing: str) -> None:
    fleet = machines.fleet("two_rtx_4090")
    place(fleet, "any", 4000, packing=make(packing))
    assert place(fleet, "any:2", packing=make(packing)) is None
    whole = place(fleet, "any", packing=make(packing))
    share = place(fleet, "any", 4000, packing=make(packing))
    assert whole and share and whole.devices != share.devices


def test_a_share_that_no_device_has_left_waits() -> None:
    fleet = machines.fleet("one_t4")
    place(fleet, "any", 9000)
    assert place(fleet, "any", 9000) is None
    assert place(fleet, "any", 6000) is not None


def test_memory_of_other_processes_is_not_given_away() -> None:
    fleet = machines.fleet("one_t4")
    fleet.foreign = {next(fleet.devices()).uuid: 10_000}
    assert place(fleet, "any", 6000) is None


def test_instances_are_asked_for_by_their_profile() -> None:
    fleet = machines.fleet("two_a100_mig")
    got = [place(fleet, "1g.5gb") for _ in range(3)]
    assert [one and one.devices[0].profile for one in got] == ["1g.5gb", "1g.5gb", None]
    whole = place(fleet, "A100")
    assert whole is not None and not whole.devices[0].profile
    assert place(fleet, "A100") is None  # the other one is in MIG mode


def test_shares_go_to_the_smallest_instance_and_have_it_for_themselves() -> None:
    fleet = machines.fleet("two_a100_mig")
    got = [place(fleet, "A100", 4000) for _ in range(5)]
    profiles = [one.devices[0].profile for one in got if one]
    assert profiles == ["1g.5gb", "1g.5gb", "2g.10gb", "3g.20gb", ""]


def test_the_least_fragmenting_place_keeps_whole_devices_for_those_who_ask_for_them() -> None:
    packing = LeastFragmentation()
    for request in parse("any:4") * 10 + parse("any", 8000):
        packing.saw(request)
    fleet = machines.fleet("four_a10g", "one_t4")
    share = place(fleet, "any", 8000, packing=packing)
    assert share is not None and share.devices[0].model == "T4"
    assert place(fleet, "any:4", packing=packing) is not None


# ---- what cannot be served -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "gpu", "memory", "words"),
    [
        ("four_a10g", "H100", None, "gpu=H100 cannot be served: there is 4 x A10G (22 GiB)"),
        ("four_a10g", "A10G:8", None, "gpu=A10G:8"),
        ("one_t4", "any", 20_000, "none with 20000 MiB"),
        ("two_a100_mig", "7g.40gb", None, "1 x A100 3g.20gb (20 GiB)"),
        ("four_a10g", ["H100", "T4"], None, "gpu=H100 or T4"),
    ],
)
def test_what_will_never_be_there_is_told(
    machine: str, gpu: object, memory: int | None, words: str
) -> None:
    assert words in why_never(machines.fleet(machine), parse(gpu, memory))


def test_what_is_busy_may_be_there_later() -> None:
    fleet = machines.fleet("one_t4")
    place(fleet, "any")
    assert not options(fleet, parse("T4"))
    assert why_never(fleet, parse("T4")) == ""


# ---- the line ------------------------------------------------------------------------------


def test_others_pass_until_patience_ends_and_then_devices_are_kept() -> None:
    fleet = machines.fleet("four_a10g")
    for i in range(4):
        place(fleet, "A10G", owner=f"o{i}", since=float(i))
    line = Line()
    line.add("large", parse("A10G:2"), 0, now=0.0)
    line.add("small", parse("A10G"), 0, now=1.0)
    fleet.release("o2")
    assert not line.barred(fleet, "small", 0, now=PATIENCE_S - 1)
    barred = line.barred(fleet, "small", 0, now=PATIENCE_S)
    assert choose(fleet, parse("A10G"), BestFit(), barred) is None
    assert not line.barred(fleet, "large", 0, now=PATIENCE_S)
    fleet.release("o3")  # enough for the one in front: it has its two
    barred = line.barred(fleet, "small", 0, now=PATIENCE_S)
    assert len(barred) == 2
    assert choose(fleet, parse("A10G:2"), BestFit(), line.barred(fleet, "large", 0, 99.0))


def test_higher_priorities_are_not_kept_from_anything() -> None:
    fleet = machines.fleet("one_t4")
    line = Line()
    line.add("low", parse("T4"), 0, now=0.0)
    assert not line.barred(fleet, "high", 1, now=1000.0)
    assert line.barred(fleet, "low-too", 0, now=1000.0)
    assert [one.key for one in line.in_order()] == ["low"]


def test_what_the_one_in_front_cannot_use_is_free_for_others() -> None:
    fleet = machines.fleet("one_t4", "four_a10g")
    line = Line()
    line.add("front", parse("A10G:4"), 0, now=0.0)
    barred = line.barred(fleet, "behind", 0, now=1000.0)
    option = choose(fleet, parse("any"), BestFit(), barred)
    assert option is not None and option.devices[0].model == "T4"


def test_who_leaves_the_line_keeps_nothing() -> None:
    fleet = machines.fleet("one_t4")
    line = Line()
    line.add("front", parse("T4"), 0, now=0.0)
    line.remove("front")
    assert not line.barred(fleet, "behind", 0, now=1000.0)
    assert len(line) == 0


# ---- whatever happens ----------------------------------------------------------------------

_REQUESTS = st.sampled_from(
    [("any", None), ("any:2", None), ("A100:4", None), ("any", 3000), ("any", 15_000)]
)


@settings(max_examples=40, deadline=None)
@given(
    packing=st.sampled_from([one.name for one in policies()]),
    steps=st.lists(st.tuples(_REQUESTS, st.booleans()), max_size=30),
)
def test_no_device_is_given_away_twice_and_all_comes_back(
    packing: str, steps: list[tuple[tuple[str, int | None], bool]]
) -> None:
    fleet = machines.fleet("four_a100_nvlink", "two_a100_mig", "two_rtx_4090")
    policy = make(packing)
    for number, ((gpu, memory), release) in enumerate(steps):
        if release and fleet.holdings:
            fleet.release(next(iter(fleet.holdings)))
        place(fleet, gpu, memory, owner=f"o{number}", packing=policy)
        for device in fleet.devices():
            _is_sound(fleet, device)
    for owner in list(fleet.holdings):
        fleet.release(owner)
    assert all(fleet.is_free(device) for device in fleet.devices())


def _is_sound(fleet: Fleet, device: Device) -> None:
    holders = list(fleet.holders(device))
    whole = [one for one in holders if not one.memory_mib or device.profile]
    assert len(holders) == 1 if whole else True
    assert sum(one.memory_mib for one in holders) <= device.memory_mib


def test_a_share_counts_by_its_part_of_the_memory() -> None:
    fleet = machines.fleet("one_t4", "two_rtx_4090")
    place(fleet, "T4", 7680, owner="half")
    place(fleet, "any:2", owner="two")
    assert shares_of(fleet) == {"half": 0.5, "two": 2.0}
