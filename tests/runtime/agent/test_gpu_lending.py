"""GPUs that are lent to work in the background: who has to give way, and when they are free."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable

from rekindle.gpu_restore.request import parse
from rekindle.runtime.agent.gpu_lending import Loan
from rekindle.runtime.agent.gpus import Gpus
from rekindle.runtime.agent.pool_gpus import PoolGpus
from tests.gpu_restore import machines


def loan(give_way: Callable[[], object]) -> Loan:
    def told() -> None:
        give_way()

    return Loan("work", "app.function", told)


def test_no_more_has_to_give_way_than_a_start_needs() -> None:
    found = Gpus(machines.inventory("four_a10g"))
    background = PoolGpus("background", parse("A10G"), 0, found)
    told: list[int] = []
    for number in range(4):
        assert background.lend(loan(lambda number=number: told.append(number))) is not None
    pool = PoolGpus("pool", parse("A10G:2"), -100, found)  # lent is lower than any priority
    assert not pool.reserve() and len(told) == 2
    assert not pool.reserve() and len(told) == 2  # they are on their way
    for owner in list(found.lending.leaving):
        found.release(owner)
    assert pool.reserve()


def test_nothing_is_lent_while_somebody_waits_or_where_there_is_nothing() -> None:
    found = Gpus(machines.inventory("one_t4"))
    first, second = (PoolGpus(name, parse("T4"), 0, found) for name in ("first", "second"))
    assert first.reserve() and not second.reserve()
    third = PoolGpus("third", parse("any", 1000), 0, found)
    assert not third.may_lend() and third.lend(loan(list)) is None
    assert not PoolGpus("none", (), 0, found).may_lend()
    assert not PoolGpus("never", parse("H100"), 0, found).may_lend()


def test_what_was_lent_is_free_when_the_work_ends_or_its_process_does() -> None:
    found = Gpus(machines.inventory("one_t4"))
    pool = PoolGpus("pool", parse("T4"), 0, found)

    async def scenario(process: subprocess.Popen[bytes]) -> None:
        claim = pool.lend(loan(list))
        assert claim is not None
        pool.end_loan(claim)  # no process had it yet
        assert not found.fleet.holdings
        claim = pool.lend(loan(list))
        assert claim is not None
        pool.lent_until_end(claim, process.pid)
        pool.end_loan(claim)
        assert set(found.fleet.holdings) == {claim.owner}
        freed = asyncio.Event()
        found.on_free = freed.set
        process.kill()
        await asyncio.wait_for(freed.wait(), 10)
        assert not found.fleet.holdings

    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            asyncio.run(scenario(process))
        finally:
            process.kill()


def test_a_start_that_does_not_come_to_be_has_the_spare_with_its_gpu_end() -> None:
    found = Gpus(machines.inventory("one_t4"))
    pool = PoolGpus("pool", parse("T4"), 0, found)
    told: list[str] = []
    claim = pool.lend(loan(lambda: told.append("end")))
    assert claim is not None
    pool.has_context(claim)
    assert pool.reserve() and not told
    pool.unreserve()
    assert told == ["end"]
    assert set(found.fleet.holdings) == {claim.owner}  # until its process has ended


def test_unused_weights_are_asked_for_only_where_they_are_in_the_way() -> None:
    found = Gpus(machines.inventory("one_t4"))
    asked: list[str] = []
    found.on_short = lambda: asked.append("short")
    share = PoolGpus("share", parse("any", 9000), 0, found)
    whole = PoolGpus("whole", parse("T4"), 0, found)
    (device,) = found.fleet.devices()
    found.fleet.foreign = {device.uuid: 8000}  # a holder's, say
    assert not share.reserve() and asked == ["short"]
    share.leave()
    found.fleet.foreign = {}
    assert share.reserve()
    found.fleet.foreign = {device.uuid: 8000}
    assert not whole.reserve() and asked == ["short"]  # a runner is in the way
