"""A volume that does not answer, on a real node."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from rekindle.exception import StartError
from rekindle.runtime.agent import settings
from rekindle.runtime.agent.starts import volumes
from rekindle.volumes import registry
from rekindle.volumes.remote import Folder
from rekindle.wire.spec import FunctionSpec
from rekindle.wire.volumes import VolumeMount
from tests.blobs.machine import needs_fuse
from tests.hung import hung
from tests.runtime.agent.harness import Harness, run


def test_where_volumes_lie_and_which_are_sent_is_found_by_one_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(registry.VARIABLE, str(tmp_path / "volumes"))
    there = registry.Registry(tmp_path / "volumes")
    for name, url in (("stored", f"file://{tmp_path / 'store'}"), ("plain", "")):
        there.create(name, "main", url)
    mounts = [
        VolumeMount(path="/stored", name="stored", environment="main"),
        VolumeMount(path="/read", name="stored", environment="main", read_only=True),
        VolumeMount(path="/plain", name="plain", environment="main"),
    ]
    spec = FunctionSpec(app_name="app", name="function", volumes=tuple(mounts))
    looks = []
    folder_of = volumes._folder

    def look(mount: VolumeMount) -> Folder:
        looks.append(mount)
        if len(looks) > len(mounts):
            raise FileNotFoundError("renamed meanwhile")
        return folder_of(mount)

    monkeypatch.setattr(volumes, "_folder", look)
    binds, written = asyncio.run(volumes.binds_and_written(spec))
    assert [one["target"] for one in binds] == ["/stored", "/read", "/plain"]
    assert [str(one.files) for one in written] == [binds[0]["root"]]
    assert looks == mounts
    with pytest.raises(StartError, match="cannot have its volumes: renamed"):
        asyncio.run(volumes.binds_and_written(spec))


def answer() -> int:
    return 42


def _looks() -> int:
    return sum(thread.name == "apart" for thread in threading.enumerate())


def _failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [record for record in caplog.records if record.message == "start failed"]
    return [str(vars(record)) for record in records]


@pytest.fixture
def short_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_LOOK_S", 0.01)


@needs_fuse
@pytest.mark.needs_root("mounts in this namespace")
@pytest.mark.parametrize("below", ["", "below/it"], ids=["where_it_is", "above_it"])
@pytest.mark.usefixtures("short_look")
def test_a_volume_that_does_not_answer_keeps_no_other_function_from_its_start(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    below: str,
) -> None:
    """Nor an agent from its own, where nothing answers above the place either."""
    place = tmp_path / "volumes"
    monkeypatch.setenv(registry.VARIABLE, str(place / below))
    volume = VolumeMount(path=str(tmp_path / "data"), name="data", environment="main")

    with hung(place) as give_up:

        async def scenario(h: Harness) -> None:
            before = _looks()
            h.submit(h.add(answer, volumes=(volume,)))
            await h.uplink.until(lambda: _looks() > before)
            assert (await h.call(h.add(answer))).value == 42
            assert _looks() > before and not _failures(caplog)
            give_up()
            assert "cannot have its volumes" in (await h.uplink.until(lambda: _failures(caplog)))[0]

        run(home, scenario)
