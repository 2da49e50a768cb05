"""A function that cannot be fetched: who waits for it is told why, and who asks later is served."""

from __future__ import annotations

import asyncio
import io
import os
import time
import zipfile
from pathlib import Path

import pytest

from rekindle import paths
from rekindle.exception import ServiceError
from rekindle.linux import kept_directories
from rekindle.runtime.agent import sources
from rekindle.runtime.agent.scheduling import upkeep
from rekindle.volumes import leftovers, registry
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.bundle import MANIFEST
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.leases.clients import Client
from tests.runtime.agent.leases.first_clients import Asking


def double(x: int) -> int:
    return 2 * x


def bundled(h: Harness) -> str:
    """A function whose program has modules of its own."""
    function_id = h.add(double)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as bundle:
        bundle.writestr(MANIFEST, "{}")
    source = pb.SourceBundle(digest="ab12", data=data.getvalue())
    h.uplink.functions[function_id].source.CopyFrom(source)
    return function_id


def test_modules_that_there_is_no_room_for_fail_who_waits_and_are_unpacked_once_there_is(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        function_id = bundled(h)
        paths.sources_dir().write_bytes(b"")  # nothing can be put there
        result = (await h.call(function_id, "", 1)).result
        assert result.status == pb.START_FAILURE
        assert result.error_type == "rekindle.exception.ServiceError"
        assert f"the program's modules cannot be put into {paths.sources_dir()}" in result.message
        assert "make room there" in result.message
        paths.sources_dir().unlink()
        assert (await h.call(function_id, "", 1)).value == 2
        assert (paths.sources_dir() / "ab12" / MANIFEST).exists()

    run(home, scenario)


def test_modules_that_cannot_be_read_just_now_stay_for_those_who_run_from_them(home: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as bundle:
        bundle.writestr("one.py", "1")
        bundle.writestr("two.py", "2")
    place = sources.unpack("cd34", data.getvalue())
    (place / "one.py").unlink()
    (place / "one.py").symlink_to("/proc/self/mem")  # an I/O error for who reads it
    before = place.stat().st_ino
    with pytest.raises(ServiceError, match="Input/output error"):
        sources.unpack("cd34", data.getvalue())
    assert place.stat().st_ino == before
    (place / "one.py").unlink()
    assert (sources.unpack("cd34", data.getvalue()) / "one.py").read_text() == "1"


def test_modules_that_nobody_has_used_for_long_go_and_those_of_what_is_open_stay(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "_FIRST_LOOK_S", 0.0)
    monkeypatch.setattr(leftovers, "_LEFTOVER_S", -1.0)
    left = registry.place() / ".draft-left"  # of a volume
    left.mkdir(parents=True)

    async def scenario(h: Harness) -> None:
        function_id = bundled(h)
        assert (await h.call(function_id, "", 1)).value == 2
        long_ago = time.time() - kept_directories.KEPT_S - 60
        other = paths.sources_dir() / "cd34"
        other.mkdir()
        for one in (other, paths.sources_dir() / "ab12"):
            os.utime(one, (long_ago, long_ago))
        looking = asyncio.create_task(
            upkeep.remove_unused_forever(
                lambda: [*h.node.functions.source_dirs(), *h.node.inventory.source_dirs()]
            )
        )
        await h.uplink.until(lambda: not other.exists() and not left.exists())
        looking.cancel()
        h.node.close_app(pb.CloseAppOnAgent(app_id="ap-test"))
        await h.uplink.until(lambda: h.uplink.closed_apps)
        assert h.node.functions.source_dirs() == []
        assert (paths.sources_dir() / "ab12" / MANIFEST).exists()
        assert (paths.sources_dir() / "ab12").stat().st_mtime > long_ago + 60

    run(home, scenario)


def test_an_error_that_nobody_foresaw_is_the_answer_to_all_who_wait_for_a_function(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(h: Harness) -> None:
        function_id = h.add(double)
        known = h.uplink.functions.pop(function_id)  # its uplink raises KeyError
        result = (await h.call(function_id, "", 1)).result
        assert result.status == pb.START_FAILURE
        assert result.error_type == "rekindle.exception.InternalFailure"
        assert result.message.startswith("KeyError: ")
        granted = await Client(h, function_id).ask()
        assert not granted.ok and granted.reason == result.message
        asking = Asking(h, function_id, "", 1)
        assert await asking.answer() is None
        h.uplink.functions[function_id] = known
        assert (await h.call(function_id, "", 1)).value == 2

    run(home, scenario)
    assert sum("internal error" in record.message for record in caplog.records) == 3
