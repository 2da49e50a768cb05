"""A volume that does not answer, on a real node."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rekindle.runtime.agent import settings
from rekindle.volumes import registry
from rekindle.wire.volumes import VolumeMount
from tests.blobs.machine import needs_fuse
from tests.hung import hung
from tests.runtime.agent.harness import Harness, run


def answer() -> int:
    return 42


def _looks() -> int:
    return sum(thread.name == "volumes" for thread in threading.enumerate())


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
    volumes = tmp_path / "volumes"
    monkeypatch.setenv(registry.VARIABLE, str(volumes / below))
    volume = VolumeMount(path=str(tmp_path / "data"), name="data", environment="main")

    with hung(volumes) as give_up:

        async def scenario(h: Harness) -> None:
            before = _looks()
            h.submit(h.add(answer, volumes=(volume,)))
            await h.uplink.until(lambda: _looks() > before)
            assert (await h.call(h.add(answer))).value == 42
            assert _looks() > before and not _failures(caplog)
            give_up()
            assert "cannot have its volumes" in (await h.uplink.until(lambda: _failures(caplog)))[0]

        run(home, scenario)
