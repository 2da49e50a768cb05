"""What starts cost and levels hold: as measured, with defaults where nothing was."""

from __future__ import annotations

import json

import pytest

from rekindle.controller.pools.costs import CostBook, Costs
from rekindle.controller.storage import keys
from rekindle.exception import ServiceError
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.pools import Level
from tests.controller.harness import Instance, in_loop
from tests.controller.in_process import running_parts

MIB = 1 << 20


def test_without_snapshots_there_is_warm_and_nothing() -> None:
    costs = Costs()
    costs.started("cold", 2.0)
    levels = costs.levels(snapshots=False)
    assert set(levels) == {Level.WARM, Level.NONE}
    assert levels[Level.NONE].start_s == 2.0


def test_a_mapped_snapshot_can_be_held_mapped_cached_and_on_disk() -> None:
    costs = Costs()
    for strategy, seconds in (("spare", 0.002), ("fork", 0.007), ("restore", 0.03), ("cold", 4.0)):
        costs.started(strategy, seconds)
    costs.held(
        pb.HeldPool(
            snapshot_bytes=500 * MIB,
            working_set_bytes=100 * MIB,
            template_private_bytes=5 * MIB,
            runner_bytes=40 * MIB,
            spare_bytes=2 * MIB,
            mapped=True,
            threads=1,
        )
    )
    levels = costs.levels(snapshots=True)
    assert set(levels) == set(Level) - {Level.BOOTED}
    assert levels[Level.SPARE].start_s == pytest.approx(0.002)
    assert levels[Level.SPARE].memory_bytes == 2 * MIB
    assert levels[Level.MAPPED].start_s == pytest.approx(0.007)
    assert levels[Level.MAPPED].memory_bytes == 105 * MIB
    assert levels[Level.CACHED].start_s == pytest.approx(0.03)
    assert levels[Level.CACHED].memory_bytes == 100 * MIB
    assert levels[Level.DISK].memory_bytes == 0
    assert levels[Level.DISK].start_s > 0.03
    assert levels[Level.WARM].memory_bytes == 40 * MIB


def test_a_snapshot_with_threads_is_restored_not_forked() -> None:
    costs = Costs()
    costs.held(pb.HeldPool(snapshot_bytes=MIB, mapped=True, threads=3))
    levels = costs.levels(snapshots=True)
    assert not {Level.SPARE, Level.MAPPED, Level.BOOTED} & levels.keys()
    assert Level.CACHED in levels


def test_a_start_from_disk_is_never_taken_for_quicker_than_one_from_the_page_cache() -> None:
    costs = Costs()
    for strategy, seconds in (("restore", 0.05), ("restore_disk", 0.03)):
        costs.started(strategy, seconds)
    costs.held(pb.HeldPool(snapshot_bytes=MIB, mapped=True, threads=1))
    levels = costs.levels(snapshots=True)
    assert levels[Level.DISK].start_s == levels[Level.CACHED].start_s == 0.05


def test_figures_that_hardly_change_give_the_same_levels() -> None:
    costs = Costs()
    costs.started("cold", 2.0)
    before = costs.levels(snapshots=False)
    costs.started("cold", 2.1)
    assert costs.levels(snapshots=False) is before
    for _ in range(9):
        costs.started("cold", 4.0)
    assert costs.levels(snapshots=False) is not before


def test_what_was_measured_survives_a_restart() -> None:
    costs = Costs()
    costs.started("restore", 0.03)
    costs.started("restore_disk", 0.3)
    costs.held(pb.HeldPool(snapshot_bytes=9 * MIB, mapped=True, threads=1))
    back = Costs.from_json(costs.to_json().encode())
    assert back.levels(snapshots=True) == costs.levels(snapshots=True)
    assert back.report() == costs.report()
    assert back.measured()["restore"] and not back.measured()["fork"]


def test_gpus_that_a_runner_holds_are_part_of_what_it_costs() -> None:
    costs = Costs()
    before = costs.levels(snapshots=False)
    costs.held(pb.HeldPool(runner_gpus=0.5, runner_gpu_bytes=3 * MIB))
    levels = costs.levels(snapshots=False)
    assert levels is not before
    assert (levels[Level.WARM].gpus, levels[Level.NONE].gpus) == (0.5, 0.0)
    assert costs.report().sizes["runner_gpu_bytes"] == 3 * MIB
    back = Costs.from_json(costs.to_json().encode())
    assert back.levels(snapshots=False)[Level.WARM].gpus == 0.5


def test_what_was_stored_before_there_were_gpus_is_read() -> None:
    raw = json.loads(Costs().to_json())
    del raw["gpus"]
    assert Costs.from_json(json.dumps(raw).encode()).gpus == 0.0


@in_loop
async def test_costs_that_could_not_be_stored_are_stored_later_and_for_their_time(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone) as parts:
        book, link = parts.pools.costs, parts.link
        book.of("app.f").started("cold", 2.0)
        commands = link.commands

        async def away(*_: object, **__: object) -> None:
            link.commands = commands  # type: ignore[method-assign]
            raise ServiceError("Redis is away")

        link.commands = away  # type: ignore[method-assign,assignment]
        for _ in range(2):
            await book.flush()
        assert await link.command("TTL", keys.costs("app.f")) > 29 * 86_400
        again = CostBook(link)
        again.of("app.f").started("cold", 4.0)
        await again.load(["app.f"])  # what has been measured since counts
        assert again.of("app.f").quantile_s("cold", 0.5) == 4.0


@pytest.mark.parametrize(
    "damaged", [b"{", b"[]", b"\xff", b'{"starts": []}', b'{"starts": {}, "sizes": {"a": "b"}}']
)
def test_costs_that_are_damaged_are_kept_aside_and_hide_no_others(
    redis_alone: Instance, damaged: bytes
) -> None:
    @in_loop
    async def test() -> None:
        async with running_parts(redis_alone) as parts:
            good = Costs()
            good.started("cold", 2.0)
            await parts.link.command("SET", keys.costs("app.bad"), damaged)
            await parts.link.command("SET", keys.costs("app.good"), good.to_json())
            await parts.pools.costs.load(["app.bad", "app.good"])
            assert parts.pools.costs.of("app.good").quantile_s("cold", 0.5) == 2.0
            assert parts.pools.costs.of("app.bad").quantile_s("cold", 0.5) is None
            aside = keys.set_aside(keys.costs("app.bad"))
            assert await parts.link.command("GET", aside) == damaged

    test()
