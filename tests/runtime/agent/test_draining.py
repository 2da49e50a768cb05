"""What is left of an app that has ended while something was still done for it."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rekindle.runtime.agent.draining import Draining
from rekindle.runtime.agent.session.report import stats
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotTracker
from rekindle.wire import rekindle_pb2 as pb
from tests.runtime.agent.harness import Gate, Harness, run

DRAIN = pb.CloseAppOnAgent(app_id="ap-test", drain=True)


def double(x: int) -> int:
    return 2 * x


def test_a_template_goes_once_the_snapshot_that_is_made_of_it_is_made() -> None:
    async def scenario() -> None:
        made, shut = asyncio.Event(), []
        making = asyncio.create_task(made.wait())
        revision = SimpleNamespace(background={making}, shut=lambda: shut.append("shut"))
        making.add_done_callback(revision.background.discard)
        inventory: Any = SimpleNamespace(pools={}, revisions={"revision": revision})
        nothing: Any = None
        draining = Draining(inventory, nothing, nothing, nothing)
        pool: Any = SimpleNamespace(revision=revision)
        draining.drop_templates([pool])
        assert inventory.revisions and not shut
        made.set()
        while making in revision.background or inventory.revisions:
            await asyncio.sleep(0)
        assert shut == ["shut"]

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_no_template_is_left_of_a_drained_app_that_was_called_again_before_it_was_closed(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        function = h.add(double, enable_memory_snapshot=True)
        h.node.close_app(DRAIN)
        await h.uplink.until(lambda: h.uplink.closed_apps)
        assert (await h.call(function, "", 3)).value == 6
        assert stats(h.node).templates
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await h.uplink.until(lambda: not stats(h.node).templates)

    run(home, scenario)


def test_an_input_whose_pool_is_drained_while_it_is_being_opened_runs_in_another(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        looked, go_on, refresh = asyncio.Event(), asyncio.Event(), SnapshotTracker.refresh

        async def slow(tracker: SnapshotTracker) -> bool:
            looked.set()
            await go_on.wait()
            return await refresh(tracker)

        monkeypatch.setattr(SnapshotTracker, "refresh", slow)
        asked = h.submit(h.add(double, enable_memory_snapshot=True), "", 2)
        await looked.wait()
        h.node.close_app(DRAIN)
        await h.uplink.until(lambda: h.uplink.closed_apps)
        go_on.set()
        assert (await h.result(asked)).value == 4

    run(home, scenario)


def test_an_app_may_be_closed_while_it_is_being_drained(home: Path, tmp_path: Path) -> None:
    over = tmp_path / "over"

    async def scenario(h: Harness) -> None:
        h.submit(h.add(Forever), "run", str(over))
        await h.uplink.until(lambda: "begun" in h.uplink.printed())
        h.node.close_app(DRAIN)
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await h.uplink.until(lambda: not h.node.inventory.pools)  # drained, and closed at once
        over.touch()
        await h.uplink.until(lambda: len(h.uplink.closed_apps) == 2)

    run(home, scenario)


def test_an_order_to_drain_that_is_sent_again_while_it_is_followed_is_answered_once(
    home: Path, tmp_path: Path
) -> None:
    over = tmp_path / "over"
    order = pb.CloseAppOnAgent(app_id="ap-test", drain=True, request_id="1")

    async def scenario(h: Harness) -> None:
        h.submit(h.add(Forever), "run", str(over))
        await h.uplink.until(lambda: "begun" in h.uplink.printed())
        h.node.close_app(order)
        h.node.close_app(order)
        over.touch()
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await h.uplink.until(lambda: len(h.uplink.closed_apps) == 2)
        h.node.close_app(order)  # by now it is followed once more
        await h.uplink.until(lambda: len(h.uplink.closed_apps) > 2)
        assert len(h.uplink.closed_apps) == 3

    run(home, scenario)


class Forever:
    """Runs until it is cancelled, and ends when a file is there."""

    def run(self, over: str) -> None:
        self.over = Path(over)
        print("begun", flush=True)
        while True:
            time.sleep(0.01)

    def exit_(self) -> None:
        while not self.over.exists():
            time.sleep(0.01)


class Waits:
    """Its hook waits at a gate."""

    def load(self) -> None:
        with open(os.environ["GATE"], "rb"):
            pass

    def value(self) -> int:
        return 42


@pytest.mark.parametrize("drain", [True, False])
def test_nothing_is_left_of_what_was_started_by_name_while_its_app_ends(
    home: Path, drain: bool
) -> None:
    """A drained app waits for it; of a closed one it is ended, and who asked for it is told."""

    async def scenario(h: Harness) -> None:
        with Gate(home) as gate:
            function = h.add(Waits, enable_memory_snapshot=True, env={"GATE": gate.path})
            asked = asyncio.create_task(h.prepare(function, "fork"))
            await h.uplink.until(lambda: h.node.inventory.pools and _boots(h, function))
            revision = h.revision(function)
            h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test", drain=drain))
            if drain:
                gate.open()
            done = await asked
            assert done.ok is drain, done.reason
            assert drain or "its app was closed" in done.reason
            await h.uplink.until(lambda: h.uplink.closed_apps)
            assert revision.template is None
            if not drain:
                gate.open()

    run(home, scenario)


def _boots(h: Harness, function: str) -> bool:
    locked: bool = h.revision(function).booting.locked()
    return locked


def test_what_is_tried_ends_with_its_app_while_its_hook_runs(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        with Gate(home) as gate:
            function = h.add(Waits, env={"GATE": gate.path})
            asked = asyncio.create_task(h.prepare(function, "warm", ends=True))
            await h.uplink.until(lambda: stats_starting(h, function))
            h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
            await h.uplink.until(lambda: h.uplink.closed_apps)
            assert "its app was closed" in (await asked).reason
            assert not h.runners(function)
            gate.open()

    run(home, scenario)


@pytest.mark.parametrize("least", [0, 1], ids=["for an input", "ahead"])
def test_what_is_started_ends_with_its_app_while_its_hook_runs(home: Path, least: int) -> None:
    async def scenario(h: Harness) -> None:
        with Gate(home) as gate:
            function = h.add(Waits, env={"GATE": gate.path}, min_containers=least)
            if least:
                h.node.open(pb.OpenFunction(function_id=function, app_id="ap-test"))
            else:
                asked = h.submit(function, "value")
            await h.uplink.until(lambda: h.node.inventory.pools and stats_starting(h, function))
            h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
            await h.uplink.until(lambda: h.uplink.closed_apps)
            if not least:
                assert (await h.result(asked)).result.status == pb.CANCELLED
            assert not h.runners(function)
            gate.open()

    run(home, scenario)


def stats_starting(h: Harness, function: str) -> int:
    """Runners of it that are being started."""
    return h.stats(function).starting
