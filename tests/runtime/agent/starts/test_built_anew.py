"""What is made of an image while that is built anew: nothing of the former build is started with
the files of the next one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rekindle.exception import StrategyUnavailableError
from rekindle.runtime.agent.starts import freezing, restorer
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState
from tests.runtime.agent.harness import Harness, run

pytestmark = pytest.mark.criu


def double(x: int) -> int:
    return 2 * x


def built_anew_during(
    monkeypatch: pytest.MonkeyPatch, module: Any, step: str, revision: Revision
) -> None:
    """The image of a revision is another once a step of its start is done, the first time."""
    original = getattr(module, step)
    another: Any = SimpleNamespace(packed=())

    async def interrupted(*given: Any, **more: Any) -> Any:
        made = await original(*given, **more)
        monkeypatch.setattr(module, step, original)
        monkeypatch.setattr(revision, "image", another)
        return made

    monkeypatch.setattr(module, step, interrupted)


async def restorable(h: Harness) -> tuple[str, Revision]:
    """A function that has a snapshot."""
    function_id = h.add(double, enable_memory_snapshot=True)
    assert (await h.prepare(function_id, "restore")).ok
    return function_id, h.revision(function_id)


def test_a_template_that_was_being_restored_is_not_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        function_id, revision = await restorable(h)
        before = revision.template
        starter = h.node.inventory.pools[function_id, ""].starter
        built_anew_during(monkeypatch, restorer, "bring_back", revision)
        with pytest.raises(StrategyUnavailableError, match="built anew"):
            await starter.restore_template()
        assert revision.template is before
        revision.image = None

    run(home, scenario)


def test_a_runner_that_was_being_restored_is_not_started(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        function_id, revision = await restorable(h)
        built_anew_during(monkeypatch, restorer, "bring_back", revision)
        outcome = await h.call(function_id, "", 2, strategy="restore")
        assert "built anew" in outcome.result.message
        revision.image = None

    run(home, scenario)


def test_a_snapshot_that_was_being_made_is_not_that_of_the_next_build(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        function_id = h.add(double, enable_memory_snapshot=True)
        await h.call(function_id, "", 2)
        revision = h.revision(function_id)
        await h.uplink.until(lambda: not revision.background)
        tracker = revision.tracker
        tracker.refuse("another one is to be made")
        built_anew_during(monkeypatch, freezing, "_make", revision)
        looked: list[SnapshotState] = []

        async def look() -> None:
            looked.append(tracker.state)

        monkeypatch.setattr(tracker, "look", look)
        await freezing.freeze(h.node.context, revision, lambda text: None)
        assert looked == [SnapshotState.UNKNOWN] and tracker.snapshot is None
        revision.image = None

    run(home, scenario)
