"""A snapshot that another node made is restored here before it has arrived, and then arrives."""

from __future__ import annotations

import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from lab import unwell
from lab.unwell import Conduct
from rekindle.blobs import transfer
from rekindle.blobs.lazy import libfuse
from rekindle.blobs.store import BlobStore, Ref, open_store
from rekindle.exception import SetupError, SnapshotCreateError
from rekindle.runtime.agent.starts.broken_snapshots import BrokenSnapshots
from rekindle.runtime.agent.starts.snapshot_pushes import KIND
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState
from rekindle.snapshot import draft
from rekindle.snapshot.store import SnapshotStore
from rekindle.wire import rekindle_pb2 as pb
from tests.blobs.machine import needs_fuse
from tests.runtime.agent.harness import Harness, run

pytestmark = pytest.mark.criu

_MIB = 1 << 20


class Table:
    """Memory, of which a call touches a part."""

    def load(self) -> None:
        self.memory = os.urandom(48 * _MIB)

    def part(self, at: int) -> str:
        return self.memory[at : at + 8].hex()

    def all(self) -> int:
        return sum(self.memory[::4096])


@pytest.fixture
def url(tmp_path: Path) -> str:
    return (tmp_path / "store").as_uri()


def _make(home: Path, url: str) -> tuple[str, int]:
    """A first node makes a snapshot and pushes it; what its function answers."""
    answers = []

    async def scenario(h: Harness) -> None:
        table = h.add(Table, digest="same", enable_memory_snapshot=True)
        assert (await h.prepare(table, "restore")).ok
        store, key = open_store(url), h.revision(table).tracker.snapshot.key
        await h.uplink.until(lambda: store.ref(KIND, key))
        answers.append((await h.call(table, "part", 40 * _MIB, strategy="restore")).value)
        answers.append((await h.call(table, "all")).value)

    run(home, scenario, store_url=url)
    return answers[0], answers[1]


def _second_node(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of another node, which this process is of from now on."""
    second = home.with_name("second")
    monkeypatch.setenv("REKINDLE_HOME", str(second))
    return second


def _pages(ref: Ref) -> str:
    """The blob of the memory in a snapshot of one process."""
    return next(blob for name, blob in ref.about["files"].items() if name.startswith("images/"))


def _untouched_chunk(store: BlobStore, ref: Ref) -> str:
    """Of its pages: one that the call of a part does not touch."""
    chunks = store.index(_pages(ref)).chunks
    return chunks[len(chunks) // 2]


@needs_fuse
def test_a_node_restores_what_another_one_made_and_has_it_whole_afterwards(
    home: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, total = _make(home, url)
    second = _second_node(home, monkeypatch)

    async def scenario(h: Harness) -> None:
        table = h.add(Table, digest="same", enable_memory_snapshot=True)
        outcome = await h.call(table, "part", 40 * _MIB)
        assert outcome.strategy == "restore", outcome.result.notes
        assert outcome.value == part
        stored, tracker = h.node.context.stored, h.revision(table).tracker
        assert stored is not None and stored.lazy is not None
        key, (before,) = tracker.snapshot.key, stored.arriving
        await h.uplink.until(lambda: not stored.is_arriving(tracker.snapshot))
        assert tracker.snapshot.path == second / "snapshots" / key
        assert tracker.state is SnapshotState.READY
        # The runner of before reads on; one that is restored from the node's own has the same.
        assert (await h.call(table, "all")).value == total
        shutil.rmtree(before)
        assert (await h.call(table, "all", strategy="restore")).value == total
        assert not tracker.mapping_failed

    run(second, scenario, store_url=url)

    async def without_the_store(h: Harness) -> None:
        table = h.add(Table, digest="same", enable_memory_snapshot=True)
        outcome = await h.call(table, "all")
        assert (outcome.strategy, outcome.value) == ("restore", total)

    run(second, without_the_store, store_url="")


@needs_fuse
@pytest.mark.usefixtures("unwell_urls")
def test_one_on_its_way_is_what_the_next_program_starts_from_also_while_the_store_is_away(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    url = unwell.url(folder)
    part, total = _make(home, url)
    second = _second_node(home, monkeypatch)
    store = open_store(url)
    (ref,) = store.refs()
    late = (_untouched_chunk(store, ref),)
    Conduct(stalls_on=late).begin(folder)

    async def scenario(h: Harness) -> None:
        table = h.add(Table, digest="same", enable_memory_snapshot=True)
        assert (await h.call(table, "part", 40 * _MIB)).value == part
        stored, tracker = h.node.context.stored, h.revision(table).tracker
        assert stored is not None and stored.is_arriving(tracker.snapshot)
        coming = tracker.snapshot
        Conduct(stalls_on=late, down=True).begin(folder)
        again = h.add(Table, digest="same", enable_memory_snapshot=True, app_id="ap-second")
        outcome = await h.call(again, "part", 40 * _MIB, strategy="restore")
        assert (outcome.strategy, outcome.value) == ("restore", part), outcome.result.notes
        assert h.revision(again).tracker is tracker and tracker.snapshot is coming
        Conduct().begin(folder)
        await h.uplink.until(lambda: not stored.is_arriving(tracker.snapshot))
        assert tracker.snapshot.path == second / "snapshots" / ref.name
        # The runners of before read on.
        assert (await h.call(table, "all")).value == total
        assert (await h.call(again, "all", strategy="restore")).value == total

    run(second, scenario, store_url=url)


@needs_fuse
def test_what_could_not_be_kept_or_was_removed_arrives_again_at_the_next_look(
    home: Path, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    part, total = _make(home, url)
    second = _second_node(home, monkeypatch)
    begin = draft.begin
    left = ["no space left"]

    def begin_later(*args: Any, **options: Any) -> draft.Draft:
        if left:
            raise SnapshotCreateError(left.pop())
        return begin(*args, **options)

    monkeypatch.setattr(draft, "begin", begin_later)

    async def scenario(h: Harness) -> None:
        table = h.add(Table, digest="same", enable_memory_snapshot=True)
        assert (await h.call(table, "part", 40 * _MIB)).value == part
        stored, tracker = h.node.context.stored, h.revision(table).tracker
        assert stored is not None
        await h.uplink.until(lambda: "snapshot did not arrive" in caplog.messages)
        for app in ("ap-second", "ap-third"):
            again = h.add(Table, digest="same", enable_memory_snapshot=True, app_id=app)
            outcome = await h.call(again, "all", strategy="restore")
            assert (outcome.strategy, outcome.value) == ("restore", total)
            await h.uplink.until(lambda: not stored.is_arriving(tracker.snapshot))
            own = second / "snapshots" / tracker.snapshot.key
            assert tracker.snapshot.path == own and own.is_dir()
            assert (await h.call(again, "all", strategy="restore")).value == total
            h.node.context.store.remove(tracker.snapshot.key)

    run(second, scenario, store_url=url)


def test_a_snapshot_that_the_store_was_away_for_is_there_soon_after_it_came_back(
    home: Path, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "store"
    place.write_text("no folder: nothing can be put there")

    async def scenario(h: Harness) -> None:
        table = h.add(Table, digest="same", enable_memory_snapshot=True)
        assert (await h.prepare(table, "restore")).ok
        await h.uplink.until(lambda: "snapshot not pushed" in caplog.messages)
        place.unlink()
        store, key = open_store(url), h.revision(table).tracker.snapshot.key
        await h.uplink.until(lambda: place.is_dir() and store.ref(KIND, key))

    run(home, scenario, store_url=url)


@pytest.mark.usefixtures("unwell_urls")
def test_a_store_that_says_nothing_keeps_no_start_waiting_for_long_and_no_node_from_its_end(
    home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder := tmp_path / "store").mkdir()
    Conduct(stalled=True).begin(folder)

    async def scenario(h: Harness) -> None:
        table = h.add(Table, enable_memory_snapshot=True)
        assert (await h.call(table, "part", 0)).strategy == "cold"
        reasons = [str(getattr(one, "fields", {}).get("reason")) for one in caplog.records]
        assert any("did not answer within 0.2 s" in one for one in reasons), reasons
        assert (await h.prepare(table, "restore")).ok
        stored, snapshot = h.node.context.stored, h.revision(table).tracker.snapshot
        assert stored is not None and snapshot.key in stored.pushes._known  # it is on its way there
        stored.pushes.working_set_soon(snapshot)

    try:
        run(home, scenario, store_url=unwell.url(folder), lazy_wait_s=0.2)
    finally:
        Conduct().begin(folder)  # for those who were left behind


@needs_fuse
def test_a_store_that_lost_a_part_ends_the_runner_with_its_name_and_the_next_start_is_cold(
    home: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(home, url)
    store = open_store(url)
    (ref,) = store.refs()
    pages = _pages(ref)
    index = store.index(pages)
    for chunk in index.chunks[4:-4]:
        store.objects.delete(f"chunks/{chunk[:2]}/{chunk}")
    store.objects.delete(f"hints/{pages}")
    second = _second_node(home, monkeypatch)

    async def scenario(h: Harness) -> None:
        table = h.add(Table, digest="same", enable_memory_snapshot=True)
        first = h.submit(table, "all")
        await h.uplink.until(lambda: h.uplink.returned or h.uplink.results)
        if h.uplink.returned:  # it touched what is missing: the input goes elsewhere
            words = h.uplink.returned[0].reason
            assert pages in words and url in words
        else:
            assert (await h.result(first)).strategy == "cold"
        assert (await h.call(table, "all")).strategy in ("cold", "warm", "fork")
        # What is made in its place takes its place in the store, too.
        assert (await h.prepare(table, "restore")).ok
        key = h.revision(table).tracker.snapshot.key
        await h.uplink.until(lambda: store.ref("snapshots", key).blobs != ref.blobs)

    run(second, scenario, store_url=url, lazy_wait_s=2.0)


@needs_fuse
def test_a_snapshot_of_which_the_store_has_lost_a_part_is_used_no_more_once_nobody_does(
    home: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, _total = _make(home, url)
    store = open_store(url)
    (ref,) = store.refs()
    chunk = _untouched_chunk(store, ref)
    store.objects.delete(f"chunks/{chunk[:2]}/{chunk}")
    second = _second_node(home, monkeypatch)

    async def scenario(h: Harness) -> None:
        table = h.add(Table, digest="same", enable_memory_snapshot=True)
        outcome = await h.call(table, "part", 40 * _MIB)
        assert (outcome.strategy, outcome.value) == ("restore", part)
        stored, revision = h.node.context.stored, h.revision(table)
        assert stored is not None
        coming, tracker = revision.tracker.snapshot, revision.tracker
        await h.uplink.until(lambda: stored.pushes.broken.has(ref.name, ref.blobs))
        assert tracker.snapshot is coming and stored.is_arriving(coming)  # it is in use
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await h.uplink.until(lambda: h.uplink.closed_apps)
        revision.drop_template()
        await h.uplink.until(lambda: not stored.is_arriving(coming))
        assert tracker.snapshot is None and chunk in tracker.reason
        await h.uplink.until(lambda: not coming.path.exists())

    run(second, scenario, store_url=url)


class Weights(Table):
    """The same in each process, as what is read from a file: so are the chunks in the store."""

    def load(self) -> None:
        self.memory = random.Random(1).randbytes(24 * _MIB)


@needs_fuse
def test_what_the_store_has_damaged_is_mended_before_the_node_ends_that_met_it_or_by_its_next_agent(
    home: Path, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def make(h: Harness) -> None:
        weights = h.add(Weights, digest="same", enable_memory_snapshot=True)
        assert (await h.prepare(weights, "restore")).ok
        await h.uplink.until(lambda: list(store.refs()))

    store = open_store(url)
    run(home, make, store_url=url)
    (ref,) = store.refs()
    folder = tmp_path / "store" / "chunks"
    for place in folder.glob("*/*"):
        place.write_bytes(place.read_bytes()[:-1] + b"?")
    second = _second_node(home, monkeypatch)

    async def meet(h: Harness) -> None:
        weights = h.add(Weights, digest="same", enable_memory_snapshot=True)
        await h.call(weights, "part", 0)
        assert h.node.context.stored.pushes.broken.has(ref.name, ref.blobs)

    async def make_again(h: Harness) -> None:
        weights = h.add(Weights, digest="same", enable_memory_snapshot=True)
        h.node.context.stored.find = lambda key: None  # nobody looks there: it is known already
        assert (await h.prepare(weights, "restore")).ok  # and the node ends at once

    for scenario in (meet, make_again):
        run(second, scenario, store_url=url, lazy_wait_s=2.0)
    (mended,) = store.refs()
    assert mended.blobs != ref.blobs
    for blob in mended.blobs:
        transfer.fetch(store, blob, tmp_path / blob)
    broken = BrokenSnapshots(second / "snapshots")
    assert not broken.has(ref.name, ref.blobs) and not broken.has(ref.name, mended.blobs)


@needs_fuse
def test_readers_get_an_error_when_the_process_that_serves_is_killed(
    home: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, _total = _make(home, url)
    second = _second_node(home, monkeypatch)

    async def scenario(h: Harness) -> None:
        stored = h.node.context.stored
        assert stored is not None and stored.lazy is not None
        os.kill(stored.lazy.pid, signal.SIGKILL)
        table = h.add(Table, digest="same", enable_memory_snapshot=True)
        outcome = await h.call(table, "part", 40 * _MIB)
        assert outcome.strategy == "cold"
        assert len(outcome.value) == len(part)

    run(second, scenario, store_url=url)


def test_without_fuse_a_snapshot_is_fetched_whole_and_it_is_said(
    home: Path, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    part, total = _make(home, url)
    second = _second_node(home, monkeypatch)

    def none() -> str:
        raise SetupError("there is no libfuse3")

    monkeypatch.setattr(libfuse, "find", none)

    async def scenario(h: Harness) -> None:
        stored = h.node.context.stored
        assert stored is not None and stored.lazy is None
        whole = "snapshots are fetched whole before they are used"
        # Of the node before, too, where this machine has no FUSE.
        *_, said = [vars(one)["fields"] for one in caplog.records if one.message == whole]
        assert "libfuse3" in str(said["reason"])
        table = h.add(Table, digest="same", enable_memory_snapshot=True)
        outcome = await h.call(table, "part", 40 * _MIB)
        assert (outcome.strategy, outcome.value) == ("restore", part)
        (entry,) = SnapshotStore(second / "snapshots").list()
        assert entry.snapshot is not None and entry.snapshot.is_mapped
        assert (await h.call(table, "all")).value == total

    run(second, scenario, store_url=url)


@needs_fuse
def test_a_snapshot_that_has_no_room_among_lazy_files_is_fetched_whole(
    home: Path, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    part, _total = _make(home, url)
    second = _second_node(home, monkeypatch)

    async def scenario(h: Harness) -> None:
        table = h.add(Table, digest="same", enable_memory_snapshot=True)
        outcome = await h.call(table, "part", 40 * _MIB)
        assert (outcome.strategy, outcome.value) == ("restore", part)
        assert h.revision(table).tracker.snapshot.path.parent == second / "snapshots"
        assert "snapshot is fetched whole" in caplog.messages

    run(second, scenario, store_url=url, lazy_bytes=_MIB)
