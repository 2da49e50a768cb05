"""What is sent of volumes with a store, whatever stores and runners do."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from rekindle.runtime.agent.starts import node_context, volume_pushes
from rekindle.runtime.agent.starts.volume_pushes import VolumePushes
from rekindle.volumes import registry
from rekindle.volumes.registry import Registry
from rekindle.volumes.remote import Folder, of_volume
from rekindle.wire.ending import AGENT_END_S
from rekindle.wire.volumes import VolumeMount
from tests import s3_server
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.leases.clients import until


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volume_pushes, "EVERY_S", 0.02)


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels of folders that were tried to be sent, in that order."""
    found: list[str] = []
    push = Folder.push

    def noted(folder: Folder) -> None:
        try:
            push(folder)
        finally:
            found.append(folder.label)

    monkeypatch.setattr(Folder, "push", noted)
    return found


def _made(root: Path, name: str, url: str) -> Folder:
    folder = of_volume(Registry(root).create(name, "main", url))
    (folder.files / "file").write_text("1")
    return folder


def test_a_store_that_is_away_keeps_no_other_volume_from_being_sent(
    tmp_path: Path, pushed: list[str]
) -> None:
    pytest.importorskip("s3fs")
    one = _made(tmp_path / "volumes", "one", "s3://bucket/one")
    other = _made(tmp_path / "volumes", "other", f"file://{tmp_path / 'store'}")

    async def scenario() -> None:
        pushes = VolumePushes()
        pushes.use([one])
        await until(lambda: pushed.count(one.label) > 1)
        pushes.use([other])
        await until((tmp_path / "store" / "file").exists)
        (other.files / "later").write_text("2")
        await until((tmp_path / "store" / "later").exists)
        await pushes.close(60)

    with s3_server.away():
        asyncio.run(scenario())


def test_what_a_store_did_not_take_when_the_runner_ended_is_sent_when_it_is_back(
    tmp_path: Path, pushed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store"
    store.write_text("no directory: nothing can be kept here")
    folder = _made(tmp_path / "volumes", "data", f"file://{store}/data")

    async def scenario() -> None:
        pushes = VolumePushes()
        pushes.use([folder])()
        await until(lambda: len(pushed) > 3)
        store.unlink()
        await until((store / "data" / "file").exists)
        await pushes.close(60)

    asyncio.run(scenario())
    # Said once, and not at each try.
    assert [one.message for one in caplog.records if one.message == "volume not sent"] == [
        "volume not sent"
    ]


def test_a_volume_that_is_renamed_is_sent_further_and_a_deleted_one_is_let_go(
    tmp_path: Path, pushed: list[str]
) -> None:
    volumes, store = Registry(tmp_path / "volumes"), tmp_path / "store"
    folder = _made(volumes.root, "data", f"file://{store}")

    async def scenario() -> None:
        pushes = VolumePushes()
        pushes.use([folder])
        await until((store / "file").exists)
        renamed = volumes.rename(volumes.find("data", "main"), "renamed")
        (renamed.files / "later").write_text("2")
        await until((store / "later").exists)
        volumes.delete(renamed)
        await until(lambda: not pushes._folders)
        await pushes.close(60)

    asyncio.run(scenario())
    assert {one.name for one in store.iterdir()} == {"file", "later"}


def test_a_store_that_hangs_keeps_no_agent_from_ending_in_good_order(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = _made(tmp_path / "volumes", "data", f"file://{tmp_path / 'store'}")
    asked, answers = threading.Event(), threading.Event()

    def hang(_folder: Folder) -> None:
        asked.set()
        answers.wait()

    monkeypatch.setattr(Folder, "push", hang)
    monkeypatch.setattr(node_context, "_REMOVALS_S", AGENT_END_S)  # all of its time is for these

    async def scenario(h: Harness) -> None:
        h.node.context.volume_pushes.use([folder])()
        await until(asked.is_set)

    try:
        run(home, scenario)  # and what it has made is removed
    finally:
        answers.set()
    (left,) = [one for one in caplog.records if one.name == volume_pushes.__name__]
    assert left.message == "volume left unsent until it is used again"
    assert "did not take it" in left.__dict__["fields"]["reason"]


class Fails:
    """Writes to its volume, and fails before it is ready."""

    _place = ""

    def enter(self) -> None:
        Path(self._place, "written").write_text("by a hook")
        raise ValueError("not ready")

    def work(self) -> None: ...


def test_what_the_hook_of_a_start_that_failed_wrote_is_sent_and_its_volume_not_in_use(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "volumes"))
    Registry(tmp_path / "volumes").create("data", "main", f"file://{tmp_path / 'store'}")
    monkeypatch.setattr(Fails, "_place", str(tmp_path / "mounted"))
    volume = VolumeMount(path=Fails._place, name="data", environment="main")

    async def scenario(h: Harness) -> None:
        h.submit(h.add(Fails, volumes=(volume,)), "work")
        await h.uplink.until((tmp_path / "store" / "written").exists)
        await h.uplink.until(lambda: not h.node.context.volume_pushes._folders)

    run(home, scenario)
