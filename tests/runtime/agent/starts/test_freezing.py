"""Snapshots that cannot be made: what is left of the attempt. Real templates and a real CRIU."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from rekindle.runtime.agent.starts import freezing
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState
from rekindle.runtime.agent.starts.template import LiveTemplate
from tests.runtime.agent.harness import PATIENCE_S, Harness, run
from tests.runtime.agent.starts.counter import Counter
from tests.runtime.agent.starts.hanging import HangsWhileMarked

pytestmark = pytest.mark.criu


def _no_space(patched: pytest.MonkeyPatch) -> None:
    """Before CRIU is begun."""
    full = SimpleNamespace(total=1 << 30, used=1 << 30, free=0)
    patched.setattr(shutil, "disk_usage", lambda _path: full)


def _criu_dies(patched: pytest.MonkeyPatch) -> None:
    """Of the first file that is larger than a page."""
    dump_argv = freezing.command.dump_argv

    def limited(*args: Any, **options: Any) -> list[str]:
        return ["/usr/bin/prlimit", "--fsize=4096", "--", *dump_argv(*args, **options)]

    patched.setattr(freezing.command, "dump_argv", limited)


def _criu_takes_too_long(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(freezing, "DUMP_TIMEOUT_S", 0.0)


@pytest.mark.parametrize(
    "fails, reason",
    [
        (_no_space, "no space left on"),
        (_criu_dies, "CRIU could not freeze the process"),
        (_criu_takes_too_long, "CRIU took longer than 0 s"),
    ],
)
def test_a_snapshot_that_cannot_be_made_leaves_neither_the_copy_nor_criu_nor_a_draft(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[[pytest.MonkeyPatch], None],
    reason: str,
) -> None:
    fails(monkeypatch)
    copies: list[int] = []
    copy = LiveTemplate.copy

    async def noting(template: LiveTemplate) -> int:
        copies.append(await copy(template))
        return copies[-1]

    monkeypatch.setattr(LiveTemplate, "copy", noting)

    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        assert (await h.call(counter, "total")).value == 499500
        prepared = await h.prepare(counter, "restore")
        assert not prepared.ok and reason in prepared.reason
        assert copies
        assert not [path for path in (home / "snapshots").iterdir() if "sn-" in path.name]
        revision = h.revision(counter)
        template = revision.template
        assert (await h.call(counter, "total", strategy="fork")).value == 499500
        init = psutil.Process(template.sandbox.pid)

        def unknown() -> set[int]:
            known = {child.channel.pid for child in template._children.values()}
            there = {one.pid for one in init.children(recursive=True)}
            return there - known - {template.channel.pid}

        await h.uplink.until(lambda: not unknown())
        revision.drop_template()
        for child in list(template._children.values()):
            child.kill()  # nothing else is left in its namespaces
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.shield(template.sandbox.gone)

    run(home, scenario)


async def _of_no_kind_that_is_known(*_args: object) -> None:
    raise RuntimeError("of no kind that is known")


def test_a_snapshot_that_fails_in_an_unknown_way_is_none_and_is_tried_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        with monkeypatch.context() as patched:
            patched.setattr(freezing, "_make", _of_no_kind_that_is_known)
            prepared = await h.prepare(counter, "restore")
        assert "RuntimeError: of no kind that is known" in prepared.reason
        assert h.revision(counter).tracker.state is SnapshotState.ABSENT
        prepared = await h.prepare(counter, "restore")
        assert prepared.ok, prepared.reason

    run(home, scenario)


def test_a_snapshot_whose_making_is_cancelled_is_none_and_is_tried_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        making = asyncio.Event()

        async def held(*_args: object) -> None:
            making.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patched:
            patched.setattr(freezing, "_make", held)
            prepared = asyncio.create_task(h.prepare(counter, "restore"))
            await making.wait()
            [task] = h.revision(counter).background
            task.cancel()
            assert not (await prepared).ok
        assert h.revision(counter).tracker.state is SnapshotState.ABSENT
        prepared = await h.prepare(counter, "restore")
        assert prepared.ok, prepared.reason

    run(home, scenario)


def test_a_copy_to_be_frozen_that_hangs_is_killed_and_its_template_forks_on(
    home: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"

    async def scenario(h: Harness) -> None:
        hangs = h.add(HangsWhileMarked, enable_memory_snapshot=True, env={"MARK": str(mark)})
        assert (await h.prepare(hangs, "fork")).ok
        template = h.revision(hangs).live_template()
        mark.touch()
        prepared = await h.prepare(hangs, "restore")
        assert not prepared.ok and "a copy hung for 1 s" in prepared.reason
        mark.unlink()
        assert (await h.call(hangs, "total", strategy="fork")).value == 1
        assert h.revision(hangs).live_template() is template
        below = psutil.Process(template.channel.pid).children()
        assert {one.pid for one in below} == {
            one.channel.pid for one in template._children.values()
        }

    run(home, scenario)
