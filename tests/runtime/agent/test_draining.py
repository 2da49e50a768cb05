"""What is left of an app that has ended while something was still done for it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rekindle.exception import ServiceError
from rekindle.runtime.agent import sources
from rekindle.runtime.agent.draining import Draining
from rekindle.runtime.agent.scheduling.upkeep import let_templates_go
from rekindle.runtime.agent.session.report import stats
from rekindle.runtime.agent.starts import restorer
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotTracker
from rekindle.runtime.agent.starts.waiting import WaitingRestore
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.pickling import dumps
from tests.runtime.agent.harness import Gate, Harness, run

DRAIN = pb.CloseAppOnAgent(app_id="ap-test", drain=True)
CLOSE = pb.CloseAppOnAgent(app_id="ap-test")


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
        Draining(inventory, nothing, nothing)._drop_templates([revision])
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
        h.node.close_app(CLOSE)
        await h.uplink.until(lambda: not stats(h.node).templates)

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


async def runs_until(h: Harness, over: Path) -> str:
    """A function whose runner is busy, and whose exit hook ends when that file is there."""
    function = h.add(Forever)
    h.submit(function, "run", str(over))
    await h.uplink.until(lambda: "begun" in h.uplink.printed())
    return function


class Controller:
    """Hands out functions of an app, as a version that is not the present one, until the test goes
    on; then the app is closed, and it refuses."""

    def __init__(self, h: Harness) -> None:
        self._fetch = h.uplink.fetch
        h.uplink.fetch = self.fetch  # type: ignore[method-assign]
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()
        self.closed = False

    async def fetch(self, function_id: str) -> pb.FetchFunctionReply:
        if self.closed:
            raise ServiceError("its app is closed")
        reply = await self._fetch(function_id)
        reply.retired = True
        self.asked.set()
        await self.go_on.wait()
        return reply


def nothing_is_left(h: Harness) -> None:
    functions = h.node.functions
    assert not h.node.inventory.pools and not stats(h.node).templates
    assert not (functions._opened or functions.retired or functions._closed_meanwhile)


async def refused(h: Harness, asked: tuple[str, int]) -> None:
    result = (await h.result(asked)).result
    assert result.status == pb.START_FAILURE and "its app is closed" in result.message


def test_what_was_being_fetched_when_its_app_was_closed_is_not_opened(home: Path) -> None:
    """The controller had handed it out before it closed the app."""

    async def scenario(h: Harness) -> None:
        controller = Controller(h)
        asked = h.submit(h.add(double, enable_memory_snapshot=True), "", 2)
        await controller.asked.wait()
        h.node.close_app(CLOSE)
        await h.uplink.until(lambda: h.uplink.closed_apps)
        controller.closed = True
        controller.go_on.set()
        await refused(h, asked)
        nothing_is_left(h)

    run(home, scenario)


def test_a_program_whose_modules_were_being_unpacked_when_its_app_was_closed_is_not_opened(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        unpacks, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def unpack(_digest: str, _data: bytes) -> Path:
            loop.call_soon_threadsafe(unpacks.set)
            go_on.wait()
            return home

        monkeypatch.setattr(sources, "unpack", unpack)
        controller = Controller(h)
        controller.go_on.set()
        function = h.add(double, enable_memory_snapshot=True)
        h.uplink.functions[function].source.CopyFrom(pb.SourceBundle(digest="ab12"))
        asked = h.submit(function, "", 2)
        await unpacks.wait()
        h.node.close_app(CLOSE)
        await h.uplink.until(lambda: h.uplink.closed_apps)
        controller.closed = True
        go_on.set()
        await refused(h, asked)
        nothing_is_left(h)

    run(home, scenario)


def test_a_function_whose_app_is_closed_in_the_turn_in_which_it_has_come_is_not_opened(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        controller = Controller(h)
        function = h.add(double)

        def closed(_task: object) -> None:
            controller.closed = True
            h.node.functions.app_closed("ap-test")

        asked = h.submit(function, "", 2)
        await controller.asked.wait()
        h.node.functions._opened[function].add_done_callback(closed)
        controller.go_on.set()
        await refused(h, asked)
        nothing_is_left(h)

    run(home, scenario)


def test_no_pool_is_opened_of_an_app_that_is_being_closed(home: Path, tmp_path: Path) -> None:
    """A runner of another instance runs its exit hook."""
    over = tmp_path / "over"

    async def scenario(h: Harness) -> None:
        controller = Controller(h)
        controller.go_on.set()
        function = await runs_until(h, over)
        controller.closed = True
        h.node.close_app(CLOSE)
        [pool] = h.node.inventory.pools.values()
        await h.uplink.until(lambda: pool.closed)
        asked = h.submit(function, "run", str(over), params=dumps({"of": "others"}))
        await refused(h, asked)
        over.touch()
        await h.uplink.until(lambda: h.uplink.closed_apps)
        nothing_is_left(h)

    run(home, scenario)


def test_a_version_that_was_opened_again_while_it_was_closed_stays(
    home: Path, tmp_path: Path
) -> None:
    """The controller does not wait for ever for an agent that closes an app."""
    over = tmp_path / "over"

    async def scenario(h: Harness) -> None:
        function = await runs_until(h, over)
        h.node.close_app(CLOSE)
        [pool] = h.node.inventory.pools.values()
        await h.uplink.until(lambda: pool.closed)
        h.uplink.functions[function].retired = True
        again = await h.node.opener.pool(function, dumps({"of": "others"}))
        over.touch()
        await h.uplink.until(lambda: h.uplink.closed_apps)
        assert list(h.node.inventory.pools.values()) == [again] and not again.closed
        assert "ap-test" in h.node.functions.retired

    run(home, scenario)


@pytest.mark.criu
def test_a_template_goes_that_was_being_restored_when_its_pool_was_drained(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile upkeep finds nothing in its revision that would have to be kept."""

    async def scenario(h: Harness) -> None:
        function = h.add(double, enable_memory_snapshot=True)
        assert (await h.prepare(function, "restore")).ok
        [pool] = h.node.inventory.pools.values()
        revision = pool.revision
        restored, go_on, bring_back = asyncio.Event(), asyncio.Event(), restorer.bring_back

        async def slow(*those: Any) -> WaitingRestore:
            back = await bring_back(*those)
            restored.set()
            await go_on.wait()
            return back

        monkeypatch.setattr(restorer, "bring_back", slow)
        revision.drop_template()
        pool.keeper.keep_template()
        await restored.wait()
        h.node.close_app(DRAIN)
        await h.uplink.until(lambda: not h.node.inventory.pools)
        let_templates_go(h.node.inventory, h.node.context.settings)
        assert not h.node.inventory.revisions
        go_on.set()
        await h.uplink.until(lambda: h.uplink.closed_apps)
        assert revision.template is None

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
        await runs_until(h, over)
        h.node.close_app(DRAIN)
        h.node.close_app(CLOSE)
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
        await runs_until(h, over)
        h.node.close_app(order)
        h.node.close_app(order)
        over.touch()
        h.node.close_app(CLOSE)
        await h.uplink.until(lambda: len(h.uplink.closed_apps) == 2)
        h.node.close_app(order)  # by now it is followed once more
        await h.uplink.until(lambda: len(h.uplink.closed_apps) > 2)
        assert len(h.uplink.closed_apps) == 3

    run(home, scenario)


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
            h.node.close_app(CLOSE)
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
            h.node.close_app(CLOSE)
            await h.uplink.until(lambda: h.uplink.closed_apps)
            if not least:
                assert (await h.result(asked)).result.status == pb.CANCELLED
            assert not h.runners(function)
            gate.open()

    run(home, scenario)


def stats_starting(h: Harness, function: str) -> int:
    """Runners of it that are being started."""
    return h.stats(function).starting
