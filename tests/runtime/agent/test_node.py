"""A node's own upkeep: what fails in it stops nothing else of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rekindle.linux import memory as machine_memory
from rekindle.runtime.agent.scheduling import upkeep
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.leases.clients import Worker, until, warm


def test_a_pool_that_cannot_be_looked_at_keeps_no_other_from_being_scaled_down(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(h: Harness) -> None:
        broken, _ = await warm(h, scaledown_window_s=1.0)

        def fails() -> None:
            raise OSError("no descriptor to be had")

        pool = h.node.inventory.pools[(broken, "")]
        pool.stop_surplus = fails  # type: ignore[method-assign]
        other, _ = await warm(h, scaledown_window_s=1.0)
        await until(lambda: not h.runners(other))
        assert h.runners(broken)
        del pool.stop_surplus
        await until(lambda: not h.runners(broken))

    run(home, scenario)
    (record,) = [one for one in caplog.records if one.exc_info]
    assert record.__dict__["fields"]["of"] == "reconcile a pool"
    assert record.__dict__["fields"]["function"]


def test_one_part_of_the_upkeep_that_fails_stops_no_other(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        seen = {"stalls": 0, "templates": 0}

        def fails(part: str) -> None:
            seen[part] += 1
            raise OSError("no descriptor to be had")

        monkeypatch.setattr(h.node.scheduler._stalls, "look", lambda: fails("stalls"))
        monkeypatch.setattr(upkeep, "let_templates_go", lambda *_: fails("templates"))
        await until(lambda: min(seen.values()) >= 2)
        function_id, _ = await warm(h, Worker, scaledown_window_s=1.0)
        await until(lambda: not h.runners(function_id))

    run(home, scenario)


def test_the_memory_budget_is_kept_again_after_memory_could_not_be_read(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        available, asked = machine_memory.available, 0

        def fails_once() -> tuple[int, int]:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise OSError("no descriptor to be had")
            return available()

        monkeypatch.setattr(machine_memory, "available", fails_once)
        monkeypatch.setattr(h.node.budget.memory, "pause_s", lambda: 0.01)
        keeping = asyncio.create_task(h.node.keep_budget_forever())
        await until(lambda: asked >= 2 or keeping.done())
        assert not keeping.done()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    run(home, scenario)
