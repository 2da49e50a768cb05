"""Snapshots that are broken, cannot be mapped or are in use: what the ladder does then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rekindle.exception import SnapshotInvalidError
from rekindle.runtime.agent.pools import template_keeper
from rekindle.snapshot.entry import Snapshot
from rekindle.snapshot.store import SnapshotStore
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.starts.counter import Counter
from tests.sealed import unsealed

pytestmark = pytest.mark.criu


@pytest.mark.parametrize("mode", ["auto", "mapped"])
def test_a_snapshot_that_cannot_be_mapped_is_copied_or_refused_with_its_reason(
    home: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Snapshot, "why_not_mapped", "the store was moved since")

    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        prepared = await h.prepare(counter, "restore")
        assert prepared.ok, prepared.reason
        h.revision(counter).drop_template()
        if mode == "auto":
            assert (await h.call(counter, "total", strategy="restore")).value == 499500
            return
        result = (await h.call(counter, "total", strategy="restore")).result
        assert "cannot be mapped (the store was moved since)" in result.message

    run(home, scenario, restore_mode=mode)


def test_a_corrupt_page_file_is_refused_with_its_name_and_made_anew(home: Path) -> None:
    async def first(h: Harness) -> None:
        counter = h.add(Counter, digest="same", enable_memory_snapshot=True)
        await h.call(counter, "total")
        assert (await h.prepare(counter, "restore")).ok

    def corrupt() -> None:
        pages = unsealed(next((home / "snapshots").glob("sn-*/images/pages-*.img")))
        with pages.open("r+b") as file:
            file.seek(pages.stat().st_size // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 0xFF]))

    async def second(h: Harness) -> None:
        counter = h.add(Counter, digest="same", enable_memory_snapshot=True)
        outcome = await h.call(counter, "total")
        assert (outcome.strategy, outcome.value) == ("cold", 499500)
        assert (await h.prepare(counter, "restore")).ok
        snapshot = h.revision(counter).tracker.snapshot
        assert "corrupt" in snapshot.manifest.made_because[0]
        assert "pages-" in snapshot.manifest.made_because[0]
        assert (await h.call(counter, "total", strategy="restore")).value == 499500

    run(home, first)
    corrupt()
    run(home, second)


@pytest.fixture
def no_template_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node has no memory to spare, so it restores a template only where it is told to."""
    monkeypatch.setattr(template_keeper, "_memory_to_spare", lambda: False)


@pytest.mark.usefixtures("no_template_is_kept")
@pytest.mark.parametrize("found_by", ["the start", "what was done before it"])
def test_a_snapshot_that_breaks_while_the_node_runs_falls_to_a_cold_boot(
    home: Path, found_by: str
) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        await h.call(counter, "total")
        assert (await h.prepare(counter, "restore")).ok
        h.revision(counter).drop_template()
        for runner in h.runners(counter):
            runner.kill("test")
        pool = h.node.inventory.pools[(counter, "")]
        pool.runners.clear()
        core = next((home / "snapshots").glob("sn-*/images/core-*.img"))
        unsealed(core).write_bytes(b"junk")
        if found_by == "what was done before it":
            with pytest.raises(SnapshotInvalidError, match="core-"):
                await pool.starter.restore_template()
        outcome = await h.call(counter, "total")
        assert (outcome.strategy, outcome.value) == ("cold", 499500)
        (said,) = [note for note in outcome.result.notes if "restore passed over" in note]
        assert "core-" in said
        assert any("restore passed over" in text for text in h.uplink.printed("system"))

    run(home, scenario)


def test_a_snapshot_in_use_is_not_removed_to_make_room_and_one_that_is_not_is(home: Path) -> None:
    async def make(h: Harness) -> None:
        counter = h.add(Counter, digest="same", enable_memory_snapshot=True)
        assert (await h.prepare(counter, "restore")).ok

    async def use(h: Harness) -> None:
        counter = h.add(Counter, digest="same", enable_memory_snapshot=True)
        assert (await h.call(counter, "total")).strategy == "restore"
        store = h.node.context.store
        store.gc(budget_bytes=0)
        assert [entry.problem for entry in store.list()] == [""]

    run(home, make)
    run(home, use)
    store = SnapshotStore(home / "snapshots")
    assert len(store.list()) == 1
    store.gc(budget_bytes=0)
    assert store.list() == []
