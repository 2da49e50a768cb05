"""A volume that does not answer, on a real node."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rekindle.volumes import registry
from rekindle.wire.volumes import VolumeMount
from tests.blobs.machine import needs_fuse
from tests.hung import hung
from tests.runtime.agent.harness import Harness, run


def answer() -> int:
    return 42


def _is_looked_for() -> bool:
    return any(thread.name == "volumes" for thread in threading.enumerate())


def _failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [record for record in caplog.records if record.message == "start failed"]
    return [str(vars(record)) for record in records]


@needs_fuse
@pytest.mark.needs_root("mounts in this namespace")
def test_a_volume_that_does_not_answer_keeps_no_other_function_from_its_start(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    volumes = tmp_path / "volumes"
    monkeypatch.setenv(registry.VARIABLE, str(volumes))
    volume = VolumeMount(path=str(tmp_path / "data"), name="data", environment="main")

    async def scenario(h: Harness) -> None:
        with hung(volumes) as give_up:
            h.submit(h.add(answer, volumes=(volume,)))
            await h.uplink.until(_is_looked_for)
            assert (await h.call(h.add(answer))).value == 42
            assert _is_looked_for() and not _failures(caplog)
            give_up()
            assert "cannot have its volumes" in (await h.uplink.until(lambda: _failures(caplog)))[0]

    run(home, scenario)
