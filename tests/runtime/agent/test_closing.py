"""How pools end when their app is closed, with real runners and CRIU."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from rekindle.runtime.agent import closing
from rekindle.runtime.agent.leases import leases
from rekindle.runtime.agent.pools.template_keeper import Due, TemplateKeeper
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.ending import AGENT_END_S
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.leases.clients import Client, Worker


class Forkable:
    """Its template can be forked."""

    def load(self) -> None:
        self.value = 41

    def more(self) -> int:
        return self.value + 1


class Threaded(Forkable):
    """Its template cannot: it is booted once more to be frozen."""

    def load(self) -> None:
        self.value = 41
        threading.Thread(target=threading.Event().wait, daemon=True).start()

    def more(self) -> int:
        return self.value + 1


@pytest.mark.criu
def test_a_snapshot_is_begun_where_the_app_closes_before_its_first_answer_was_seen(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LOOK_S", 3600)

    async def scenario(h: Harness) -> None:
        function_id = h.add(Worker, enable_memory_snapshot=True)
        client = Client(h, function_id)
        held = await client.lease()
        assert await client.value(held, "who")
        revision = h.revision(function_id)
        assert not revision.background
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await h.uplink.until(lambda: revision.tracker.snapshot)
        held.close()

    run(home, scenario)


def never(self: TemplateKeeper, due: Due, *, waiting: bool) -> None:
    """As where the app closes before the agent has seen the first call's end."""


@pytest.mark.parametrize("code", [Forkable, Threaded])
def test_what_was_called_has_its_snapshot_though_its_app_closed_before_that_was_begun(
    home: Path, monkeypatch: pytest.MonkeyPatch, code: type
) -> None:
    async def scenario(h: Harness) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(TemplateKeeper, "begin_snapshot", never)
            function = h.add(code, enable_memory_snapshot=True, digest="same")
            assert (await h.call(function, "more")).value == 42
            revision = h.revision(function)
            assert revision.tracker.state is SnapshotState.ABSENT and not revision.background
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await h.uplink.until(lambda: revision.tracker.state is SnapshotState.READY)

    run(home, scenario)


@pytest.mark.criu
@pytest.mark.parametrize("code", [Forkable, Threaded])
def test_what_was_tried_and_is_kept_has_its_snapshot_once_it_is_live_though_nobody_called_it(
    home: Path, code: type
) -> None:
    async def scenario(h: Harness) -> None:
        function = h.add(code, enable_memory_snapshot=True, min_containers=1)
        assert (await h.prepare(function, "warm", ends=True)).ok
        revision = h.revision(function)
        assert len(h.runners(function)) == 1
        h.node.scheduler.reconcile_all()
        assert revision.tracker.state is SnapshotState.ABSENT and not revision.background
        h.node.live(pb.AppIsLive(app_id="ap-test"))
        await h.uplink.until(lambda: revision.tracker.state is SnapshotState.READY)
        assert (await h.call(function, "more")).value == 42

    run(home, scenario)


@pytest.mark.criu
def test_what_its_plan_starts_of_a_version_on_trial_has_its_snapshot_once_it_is_live(
    home: Path,
) -> None:
    """Another function of it may be tried for long, and not start."""

    async def scenario(h: Harness) -> None:
        function = h.add(Forkable, enable_memory_snapshot=True, min_containers=1)
        h.uplink.functions[function].on_trial = True
        h.node.open(pb.OpenFunction(function_id=function, app_id="ap-test", deployed=True))
        await h.uplink.until(lambda: h.runners(function))
        revision = h.revision(function)
        h.node.scheduler.reconcile_all()
        assert revision.tracker.state is SnapshotState.ABSENT and not revision.background
        h.node.live(pb.AppIsLive(app_id="ap-test"))
        await h.uplink.until(lambda: revision.tracker.state is SnapshotState.READY)

    run(home, scenario)


@pytest.mark.criu
def test_a_version_that_goes_live_while_it_is_fetched_has_its_snapshot(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        function = h.add(Forkable, enable_memory_snapshot=True, min_containers=1)
        h.uplink.functions[function].on_trial = True
        fetch = h.uplink.fetch

        async def fetch_late(function_id: str) -> pb.FetchFunctionReply:
            reply = await fetch(function_id)
            h.node.live(pb.AppIsLive(app_id="ap-test"))
            return reply

        monkeypatch.setattr(h.uplink, "fetch", fetch_late)
        h.node.open(pb.OpenFunction(function_id=function, app_id="ap-test", deployed=True))
        await h.uplink.until(lambda: h.runners(function))
        revision = h.revision(function)
        await h.uplink.until(lambda: revision.tracker.state is SnapshotState.READY)

    run(home, scenario)


def test_what_is_kept_of_a_version_that_is_not_switched_to_leaves_no_snapshot(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function = h.add(Forkable, enable_memory_snapshot=True, min_containers=1)
        assert (await h.prepare(function, "warm", ends=True)).ok
        revision = h.revision(function)
        assert len(h.runners(function)) == 1
        h.node.live(pb.AppIsLive(app_id="ap-other"))
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await h.uplink.until(lambda: not h.node.inventory.pools)
        assert revision.tracker.state is SnapshotState.ABSENT and not revision.background

    run(home, scenario)


def test_what_only_was_tried_leaves_no_snapshot(home: Path) -> None:
    """A version that was not switched to, say."""

    async def scenario(h: Harness) -> None:
        function = h.add(Forkable, enable_memory_snapshot=True)
        assert (await h.prepare(function, "warm", ends=True)).ok
        revision = h.revision(function)
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await h.uplink.until(lambda: not h.node.inventory.pools)
        assert revision.tracker.state is SnapshotState.ABSENT and not revision.background

    run(home, scenario)


def test_an_agent_that_ends_waits_for_snapshots_no_longer_than_leaves_time_for_the_rest(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be killed before what runners wrote to volumes has been sent, say."""
    monkeypatch.setattr(closing, "LAST_STEPS_S", AGENT_END_S)

    async def scenario(h: Harness) -> None:
        function = h.add(Forkable)
        assert (await h.call(function, "more")).result.status == pb.SUCCESS
        writing = h.revision(function).in_background(asyncio.Event().wait())
        await asyncio.wait_for(h.node.close(), 60)
        assert not writing.done()
        assert [one.message for one in caplog.records if one.name == closing.__name__] == [
            "snapshot not waited for"
        ]
        writing.cancel()
        await asyncio.wait([writing])

    run(home, scenario)
