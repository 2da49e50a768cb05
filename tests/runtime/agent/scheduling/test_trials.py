"""First starts of new versions on a node that has few places, with real processes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rekindle.runtime.agent.pools.pool import Pool
from rekindle.runtime.agent.scheduling import trials
from rekindle.runtime.agent.scheduling.trials import Trials
from rekindle.runtime.agent.starts.ladder import Starter
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.messages import plan_message
from rekindle.wire.pools import PoolPlan
from tests.runtime.agent.harness import Gate, Harness, run


class Model:
    """Its hook says that it ran."""

    def enter(self) -> None:
        self.answer = 42

    def value(self) -> int:
        return self.answer


def wait(path: str) -> str:
    with open(path, "rb"):
        return "done"


def count() -> int:
    return os.getpid()


def at_each_start(h: Harness, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runners there are, or are coming, at each start from now on."""
    seen: list[int] = []
    start = Starter.start

    async def noting(self: Starter, *given: Any) -> Any:
        seen.append(left(h))
        return await start(self, *given)

    monkeypatch.setattr(Starter, "start", noting)
    return seen


async def trial(h: Harness, function_id: str) -> pb.PrepareDone:
    """As the controller has a new version tried."""
    return await h.prepare(function_id, "warm", ends=True)


def left(h: Harness) -> int:
    """Runners of this node."""
    return sum(pool.runners.size() for pool in h.node.inventory.pools.values())


def test_many_are_tried_within_the_limit_and_end_after_it_but_for_those_that_are_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        most = at_each_start(h, monkeypatch)
        used, kept = h.add(count), h.add(Model, min_containers=1)
        pid = (await h.call(used)).value
        h.node.open(pb.OpenFunction(function_id=kept, app_id="ap-test", deployed=True))
        await h.uplink.until(lambda: h.runners(kept))
        models = [h.add(Model) for _ in range(6)]
        for done in await asyncio.gather(*(trial(h, one) for one in (*models, kept))):
            assert done.ok, done.reason
        assert most and max(most) <= 3
        assert len(h.runners(kept)) == 1 and not any(map(h.runners, models))
        assert (await h.call(used)).value == pid, "what serves was not stopped for it"

    run(home, scenario, max_runners=3)


def test_where_no_place_is_free_one_more_than_the_limit_is_tried_at_a_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "_PATIENCE_S", 0.1)

    async def scenario(h: Harness) -> None:
        most = at_each_start(h, monkeypatch)
        with Gate(home) as gate:
            works = h.submit(h.add(wait), "", gate.path)
            await h.uplink.until(lambda: left(h) == 1)
            models = [h.add(Model) for _ in range(3)]
            for one in models:  # they are kept, where there is room
                plan = plan_message(PoolPlan(runners=1))
                h.node.plan(pb.FollowPlan(function_id=one, every_instance=True, plan=plan))
            for done in await asyncio.gather(*(trial(h, one) for one in models)):
                assert done.ok, done.reason
            assert max(most) == 2 and left(h) == 1
            gate.open()
            assert (await h.result(works)).value == "done"

    run(home, scenario, max_runners=1)


def test_one_is_tried_also_on_a_node_that_stays_over_its_limit(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As calls inside of calls may keep it."""
    monkeypatch.setattr(trials, "_PATIENCE_S", 0.1)

    async def scenario(h: Harness) -> None:
        with Gate(home) as gate:
            waits = h.add(wait)
            works = [h.submit(waits, "", gate.path, strategy="cold") for _ in range(3)]
            await h.uplink.until(lambda: left(h) == 3)
            models = [h.add(Model) for _ in range(2)]
            for done in await asyncio.gather(*(trial(h, one) for one in models)):
                assert done.ok, done.reason
            assert left(h) == 3
            gate.open()
            assert [one.value for one in await h.results(works)] == ["done"] * 3

    run(home, scenario, max_runners=1)


def test_one_that_does_not_start_is_told_and_holds_no_place(home: Path) -> None:
    class Broken:
        def enter(self) -> None:
            raise ValueError("broken")

        def value(self) -> int:
            return 1

    async def scenario(h: Harness) -> None:
        done = await trial(h, h.add(Broken))
        assert not done.ok and "broken" in done.reason
        assert left(h) == 0
        assert (await trial(h, h.add(Model))).ok

    run(home, scenario, max_runners=1)


def pool() -> Any:
    """One that has no runner, and may."""
    runners = SimpleNamespace(limit=9, starting=0, last_used=lambda: None, size=lambda: 0)
    return SimpleNamespace(closed=False, runners=runners, changed=lambda: None)


async def given(made: Trials, trial: object) -> bool:
    """Whether it was given a place, in the end."""
    async with made.place(pool(), trial) as is_free:
        return is_free


async def looks_in_vain(waits: asyncio.Task[bool], looks: asyncio.Queue[None]) -> None:
    """Some looks more for a place are made, and none is given."""
    for _ in range(4):
        look = asyncio.ensure_future(looks.get())
        await asyncio.wait([waits, look], return_when=asyncio.FIRST_COMPLETED)
        assert not waits.done()


def test_another_trial_of_its_pool_that_ends_does_not_free_the_place_beyond_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trials, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(trials, "_AMONG_OTHERS_S", 0.0)
    monkeypatch.setattr(trials, "_LOOK_S", 0.0)
    looks: asyncio.Queue[None] = asyncio.Queue()

    def has_place(pool: Pool) -> bool:
        looks.put_nowait(None)
        return False

    async def scenario() -> None:
        made = Trials(has_place)
        first, second, third = object(), object(), object()
        assert await given(made, first)
        made.tried(second)
        waits = asyncio.create_task(given(made, third))
        await looks_in_vain(waits, looks)
        made.tried(first)
        assert await waits

    asyncio.run(scenario())


def test_a_trial_waits_longer_for_the_place_of_another_one_than_for_that_of_what_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trials, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(trials, "_LOOK_S", 0.0)
    looks: asyncio.Queue[None] = asyncio.Queue()
    places = [True]

    def has_place(pool: Pool) -> bool:
        looks.put_nowait(None)
        return bool(places and places.pop())

    async def scenario() -> None:
        made = Trials(has_place)
        first, second = pb.PrepareOnAgent(), pb.PrepareOnAgent()  # equal, and not the same
        assert await given(made, first)
        waits = asyncio.create_task(given(made, second))
        await looks_in_vain(waits, looks)
        made.tried(first)
        assert await waits, "nothing but what serves has the places now"

    asyncio.run(scenario())
