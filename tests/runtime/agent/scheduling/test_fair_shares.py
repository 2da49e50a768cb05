"""Places of a full node go to pools that wait, with real processes."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.scheduling import fair_shares
from rekindle.sdk.calls.lease import NotRunError
from rekindle.wire import rekindle_pb2 as pb
from tests.runtime.agent.harness import Gate, Harness, run
from tests.runtime.agent.leases.clients import until, warm


def busy(i: int, seconds: float = 0.01) -> int:
    time.sleep(seconds)
    return os.getpid()


def busy_batch(numbers: list[int]) -> list[int]:
    time.sleep(0.01)
    return numbers


def quick(i: int) -> int:
    return os.getpid()


def other(i: int) -> int:
    return os.getpid()


def hold(path: str) -> str:
    with open(path, "rb"):
        return path


def answer(path: str) -> str:
    """As ``hold``, and another function."""
    with open(path, "rb"):
        return path


Keys = list[tuple[str, int]]


def flood(h: Harness, function_id: str, count: int = 4000, *, depth: int = 0) -> Keys:
    return h.submit_many(function_id, "", ((i,) for i in range(count)), depth=depth)


def done(h: Harness, keys: Keys) -> int:
    return sum(1 for key in keys if key in h.uplink.results)


async def runs_everywhere(h: Harness, function_id: str, places: int) -> None:
    """The node has runners of this function alone."""
    await h.uplink.until(lambda: len(h.runners(function_id)) == places)


async def end(h: Harness, *floods: Keys) -> None:
    for keys in floods:
        h.cancel(keys)
        await h.results(keys)


@pytest.mark.parametrize(
    "how",
    [{}, {"single_use_containers": True}, {"max_inputs": 4}, {"max_batch_size": 4, "wait_ms": 1}],
    ids=["plain", "single-use", "concurrent", "batched"],
)
def test_a_function_with_a_long_queue_gives_a_place_to_one_that_waits(
    home: Path, how: dict[str, Any]
) -> None:
    async def scenario(h: Harness) -> None:
        code = busy_batch if "max_batch_size" in how else busy
        a, b = h.add(code, **how), h.add(quick)
        keys = flood(h, a)
        await h.uplink.until(lambda: (a, "") in h.node.inventory.pools)
        runners = h.node.inventory.pools[a, ""].runners
        await h.uplink.until(lambda: runners.size() == 2)
        await h.call(b, "", 1)
        at = done(h, keys)
        assert at < len(keys)
        await h.uplink.until(lambda: done(h, keys) > at)
        await end(h, keys)

    run(home, scenario, max_runners=2)


@pytest.mark.parametrize("max_inputs", [1, 4])
def test_a_function_that_clients_call_all_the_time_gives_a_place_to_one_that_waits(
    home: Path, max_inputs: int
) -> None:
    async def scenario(h: Harness) -> None:
        _, client = await warm(h, max_inputs=max_inputs)
        held, begun = await client.lease(), home / "begun"

        async def hammer() -> None:
            with pytest.raises(NotRunError):
                while True:
                    await client.value(held, "sleep", str(begun), 0.05)

        hammering = asyncio.create_task(hammer())
        await until(begun.exists)
        await h.call(h.add(quick), "", 1)
        await hammering

    run(home, scenario, max_runners=1)


def test_two_long_queues_have_equally_many_places_and_keep_their_runners(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        a, b = h.add(busy), h.add(busy)
        first = flood(h, a)
        await runs_everywhere(h, a, 4)
        second = flood(h, b)
        await h.uplink.until(lambda: len(h.runners(a)) == len(h.runners(b)) == 2)
        there = {one.id for one in (*h.runners(a), *h.runners(b))}
        at = done(h, first), done(h, second)
        await h.uplink.until(
            lambda: done(h, first) >= at[0] + 150 and done(h, second) >= at[1] + 150
        )
        assert {one.id for one in (*h.runners(a), *h.runners(b))} == there
        assert done(h, first) < len(first) and done(h, second) < len(second)
        await end(h, first, second)

    run(home, scenario, max_runners=4)


def test_more_functions_than_places_take_turns(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        a, b, c = h.add(busy), h.add(quick), h.add(other)
        keys = flood(h, a)
        await runs_everywhere(h, a, 1)
        await h.results([h.submit(b, "", 1), h.submit(c, "", 1)])
        at = done(h, keys)
        assert at < len(keys)
        await h.uplink.until(lambda: done(h, keys) > at)
        await end(h, keys)

    run(home, scenario, max_runners=1)


def test_a_runner_with_several_inputs_gets_no_more_and_ends_when_it_has_ended_them(
    home: Path, tmp_path: Path
) -> None:
    async def scenario(h: Harness) -> None:
        a, b = h.add(hold, max_inputs=2), h.add(quick)
        with Gate(tmp_path) as long, Gate(tmp_path) as short, Gate(tmp_path) as later:
            keys = h.submit_many(a, "", [(long.path,), (short.path,), (later.path,)])
            await h.uplink.until(lambda: (a, "") in h.node.inventory.pools)
            pool = h.node.inventory.pools[a, ""]
            await h.uplink.until(lambda: pool.runners.size() == 1 and not pool.runners.starting)
            asked = h.submit(b, "", 1)
            await h.uplink.until(lambda: pool.dispatcher.giving)
            short.open()
            await h.result(keys[1])
            later.open()
            assert asked not in h.uplink.results and keys[2] not in h.uplink.results
            long.open()
            await h.result(asked)
            assert [one.value for one in await h.results(keys)] == [
                *(long.path, short.path, later.path)
            ]
            assert not h.uplink.returned

    run(home, scenario, max_runners=1)


def test_the_runner_that_ends_first_goes_and_none_is_interrupted(
    home: Path, tmp_path: Path
) -> None:
    async def scenario(h: Harness) -> None:
        a, b = h.add(hold), h.add(quick)
        with Gate(tmp_path) as long, Gate(tmp_path) as short, Gate(tmp_path) as later:
            # In one order: which of the two runners is asked to end is not the test's to know.
            keys = h.submit_many(a, "", [(long.path,), (short.path,), (later.path,)])
            await h.uplink.until(lambda: len(h.runners(a)) == 2)
            asked = h.submit(b, "", 1)
            pool = h.node.inventory.pools[a, ""]
            await h.uplink.until(lambda: pool.dispatcher.giving)
            short.open()
            await h.result(asked)
            assert keys[0] not in h.uplink.results and keys[2] not in h.uplink.results
            long.open()
            later.open()
            assert [one.value for one in await h.results(keys)] == [
                *(long.path, short.path, later.path)
            ]
            assert not h.uplink.returned

    run(home, scenario, max_runners=2)


def test_runners_that_a_plan_keeps_are_not_given_up(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        a, b = h.add(busy, min_containers=2), h.add(quick)
        keys = flood(h, a, 300)
        await runs_everywhere(h, a, 2)
        there = {one.id for one in h.runners(a)}
        last = h.submit(b, "", 1)
        outcomes = await h.results(keys)
        assert {one.result.runner_id for one in outcomes} == there
        took_s = (outcomes[-1].done_ns - outcomes[0].done_ns) / 1e9
        assert took_s > 3 * fair_shares.PATIENCE_S, "it was not long enough for a place to be asked"
        # When nothing waits any more, those that are idle go as ever.
        in_order = sorted(one.done_ns for one in outcomes)
        assert (await h.result(last)).done_ns > in_order[-10]

    run(home, scenario, max_runners=2)


async def runs(h: Harness, function_id: str, count: int) -> list[Runner]:
    """The runners of a function, once so many of them have begun an input."""

    def begun() -> list[Runner]:
        found = [one for one in h.runners(function_id) if one.page.began_ns]
        return found if len(found) == count else []

    runners: list[Runner] = await h.uplink.until(begun)
    return runners


def test_a_function_without_a_runner_gets_one_while_others_call_inside_of_calls(
    home: Path, tmp_path: Path
) -> None:
    """There are more runners than places for as long as they do: those that wait do not count."""

    async def scenario(h: Harness) -> None:
        with Gate(tmp_path) as gate:
            caller = h.add(hold)
            calls = h.submit(caller, "", gate.path)
            (runner,) = await runs(h, caller, 1)
            runner.page.wait(0)
            keys = flood(h, h.add(busy), depth=1)
            await h.uplink.until(lambda: done(h, keys))
            await h.call(h.add(quick), "", 1)
            at = done(h, keys)
            assert at < len(keys) and calls not in h.uplink.results
            await h.uplink.until(lambda: done(h, keys) > at)
            gate.open()
            await end(h, keys)
            await h.result(calls)

    run(home, scenario, max_runners=1)


@pytest.mark.parametrize(
    "how", [{}, {"min_containers": 1}, {"max_inputs": 4}], ids=["plain", "kept", "concurrent"]
)
def test_a_function_that_is_called_again_and_again_with_pauses_keeps_no_other_waiting(
    home: Path, how: dict[str, Any]
) -> None:
    async def scenario(h: Harness) -> None:
        called, over = h.add(quick, **how), asyncio.Event()
        count = 0

        async def calls() -> None:
            nonlocal count
            while not over.is_set():
                await h.call(called, "", 1)
                count += 1
                await asyncio.sleep(0.01)  # as a program does something of its own

        calling = asyncio.create_task(calls())
        await h.uplink.until(lambda: count > 10)
        await h.call(h.add(other), "", 1)
        at = count
        await h.uplink.until(lambda: count > at + 10)  # and has its turn again
        over.set()
        await calling

    run(home, scenario, max_runners=1)


def test_a_runner_that_a_plan_keeps_is_not_taken_for_one_more_of_a_long_queue(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        kept = h.add(quick, min_containers=1)
        h.node.open(pb.OpenFunction(function_id=kept, app_id="ap-test"))
        (there,) = await h.uplink.until(lambda: [one for one in h.runners(kept) if one.ready_ns])
        keys = flood(h, h.add(busy), 300)
        await h.results(keys)
        assert h.runners(kept) == [there]

    run(home, scenario, max_runners=2)


def keep(h: Harness, code: Any, count: int, **how: Any) -> str:
    """A function that is to have so many runners in any case, and that no one calls."""
    kept = h.add(code, min_containers=count, **how)
    h.node.open(pb.OpenFunction(function_id=kept, app_id="ap-test"))
    return kept


@pytest.mark.parametrize(
    ("places", "kept", "gets"), [(2, 1, 1), (4, 3, 2), (1, 1, 0)], ids=["all", "share", "none"]
)
def test_what_a_plan_keeps_has_its_share_of_a_long_queues_places_and_no_one_starts_again(
    home: Path, places: int, kept: int, gets: int
) -> None:
    async def scenario(h: Harness) -> None:
        a = h.add(busy)
        keys = flood(h, a)
        await runs_everywhere(h, a, places)
        b = keep(h, quick, kept)
        if gets:
            await h.uplink.until(lambda: [one.ready_ns for one in h.runners(b)].count(0) == 0)
            await h.uplink.until(lambda: len(h.runners(b)) == gets)
        there = {one.id for one in (*h.runners(a), *h.runners(b))}
        # Each place was asked for, more than once, while these ran.
        at = done(h, keys)
        await h.uplink.until(lambda: done(h, keys) >= at + 150 * places)
        assert len(h.runners(b)) == gets and len(h.runners(a)) == places - gets
        assert {one.id for one in (*h.runners(a), *h.runners(b))} == there
        assert h.node.history.count == places + gets
        assert done(h, keys) < len(keys)
        await end(h, keys)

    run(home, scenario, max_runners=places)


class Broken:
    """Cannot be started."""

    def load(self) -> None:
        raise OSError("no weights")

    def ping(self) -> None: ...


def test_what_a_plan_keeps_and_cannot_be_started_costs_no_other_its_place_again_and_again(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        a = h.add(busy)
        keys = flood(h, a)
        await runs_everywhere(h, a, 2)
        broken = keep(h, Broken, 1)
        pools = h.node.inventory.pools
        await h.uplink.until(lambda: (broken, "") in pools)
        await h.uplink.until(lambda: pools[broken, ""].backoff.failed_starts)
        await runs_everywhere(h, a, 2)
        there = {one.id for one in h.runners(a)}
        at = done(h, keys)
        await h.uplink.until(lambda: done(h, keys) >= at + 500)  # longer than it is left alone
        assert {one.id for one in h.runners(a)} == there
        assert done(h, keys) < len(keys)
        await end(h, keys)

    run(home, scenario, max_runners=2)


def test_what_calls_inside_of_calls_had_beyond_the_limit_ends(home: Path, tmp_path: Path) -> None:
    async def scenario(h: Harness) -> None:
        with ExitStack() as stack:
            outer, inner = (stack.enter_context(Gate(tmp_path)) for _ in range(2))
            caller, called = h.add(hold), h.add(answer, scaledown_window_s=600.0)
            calls = h.submit(caller, "", outer.path)
            (runner,) = await runs(h, caller, 1)
            runner.page.wait(0)
            ends = h.submit(called, "", inner.path, depth=1)
            await runs(h, called, 1)  # beyond the limit, as the caller waits for it
            runner.page.wait(-1)
            inner.open()
            await h.result(ends)
            await h.uplink.until(lambda: len(list(h.node.inventory.runners())) == 1)
            assert h.runners(caller) == [runner]
            outer.open()
            await h.result(calls)

    run(home, scenario, max_runners=1)


def test_what_was_told_to_end_beyond_the_limit_stays_once_it_is_not_beyond_any_more(
    home: Path, tmp_path: Path
) -> None:
    async def scenario(h: Harness) -> None:
        with ExitStack() as stack:
            outer, inner = (stack.enter_context(Gate(tmp_path)) for _ in range(2))
            caller, called = h.add(hold), h.add(answer, scaledown_window_s=600.0)
            calls = h.submit(caller, "", outer.path)
            (runner,) = await runs(h, caller, 1)
            runner.page.wait(0)
            ends = h.submit(called, "", inner.path, depth=1)
            (there,) = await runs(h, called, 1)  # beyond the limit, as the caller waits for it

            def told() -> int:
                return sum(pool.dispatcher.giving for pool in h.node.inventory.pools.values())

            runner.page.wait(-1)
            await h.uplink.until(told)
            runner.page.wait(0)
            await h.uplink.until(lambda: not told())
            inner.open()
            await h.result(ends)
            assert h.runners(called) == [there]
            outer.open()
            await h.result(calls)

    run(home, scenario, max_runners=1)


def test_functions_that_are_called_again_and_again_do_not_take_each_others_place_at_each_call(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        functions = [h.add(quick), h.add(other)]
        starts: set[str] = set()

        async def calls(function_id: str) -> None:
            for i in range(60):
                starts.add((await h.call(function_id, "", i)).result.runner_id)

        await asyncio.gather(*map(calls, functions))
        assert len(starts) < 60, "a start for each second call, at least"

    run(home, scenario, max_runners=1)
