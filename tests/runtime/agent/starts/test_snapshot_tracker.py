"""The life of a revision's snapshot on its node: which moves there are, and what is told of it."""

from __future__ import annotations

import asyncio
import errno
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rekindle.exception import GpuError, ImageError, InternalFailure, StartError, VolumeError
from rekindle.runtime.agent.starts import freezing, gpu_restoring
from rekindle.runtime.agent.starts import snapshot_tracker as tracker_module
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.runtime.agent.starts.revision import Revision
from rekindle.runtime.agent.starts.snapshot_tracker import SnapshotState, SnapshotTracker
from rekindle.snapshot.store import Snapshot
from rekindle.wire.spec import FunctionSpec

_SPEC = FunctionSpec(app_name="app", name="function")


def _frozen(state: SnapshotState = SnapshotState.UNKNOWN) -> SnapshotTracker:
    # Neither the toolbox nor a real snapshot is looked at by what is tested here.
    return SnapshotTracker(cast(NodeContext, None), _SPEC, b"", {}, state=state)


def test_what_is_being_made_tells_its_step_and_the_bytes_that_are_written(tmp_path: Path) -> None:
    tracker = _frozen(SnapshotState.ABSENT)
    assert tracker.progress() is None
    tracker.begin()
    progress = tracker.progress()
    assert progress is not None and progress.step == "loading"
    (tmp_path / "pages-1.img").write_bytes(b"x" * 5000)
    tracker.making_step, tracker.making_dir = "writing memory", tmp_path
    progress = tracker.progress()
    assert progress is not None and progress.written_bytes == 5000
    tracker.failed("no space", for_good=False)
    assert tracker.progress() is None


def test_a_file_that_goes_while_what_is_written_is_counted_does_not_count(tmp_path: Path) -> None:
    tracker = _frozen(SnapshotState.ABSENT)
    tracker.begin()
    (tmp_path / "gone.img").symlink_to("nowhere")  # listed, and not found
    (tmp_path / "pages-1.img").write_bytes(b"x" * 5000)
    tracker.making_step, tracker.making_dir = "writing memory", tmp_path
    progress = tracker.progress()
    assert progress is not None and progress.written_bytes == 5000


def test_one_that_cannot_be_made_is_not_tried_again_but_one_that_failed_is_later() -> None:
    tracker = _frozen(SnapshotState.ABSENT)
    tracker.begin()
    tracker.failed("an open socket", for_good=True)
    assert tracker.state is SnapshotState.IMPOSSIBLE and not tracker.wanted()
    tracker = _frozen(SnapshotState.ABSENT)
    tracker.begin()
    tracker.failed("no space", for_good=False)
    assert not tracker.wanted()  # not at once
    tracker.not_before = 0.0
    assert tracker.wanted()
    assert tracker.reason == "no space"


@pytest.mark.parametrize(
    "error", [VolumeError("no folder"), ImageError("no layer"), OSError("no space")], ids=repr
)
def test_whatever_went_wrong_with_making_one_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fails(*_: object) -> Snapshot:
        raise error

    async def freeze() -> None:
        context = SimpleNamespace(freezing=asyncio.Lock())
        revision = SimpleNamespace(tracker=tracker, label="app.function", image=None)
        await freezing.freeze(cast(NodeContext, context), cast(Revision, revision), said.append)

    monkeypatch.setattr(freezing, "_make", fails)
    tracker, said = _frozen(SnapshotState.ABSENT), list[str]()
    asyncio.run(freeze())
    assert said == [f"no snapshot of app.function: {error}"]
    tracker.not_before = 0.0
    assert tracker.wanted()


def test_it_is_tried_a_bounded_number_of_times() -> None:
    tracker = _frozen(SnapshotState.ABSENT)
    for _ in range(tracker_module.MAX_ATTEMPTS):
        assert tracker.wanted()
        tracker.begin()
        tracker.failed("no space", for_good=False)
        tracker.not_before = 0.0
    assert not tracker.wanted()


def test_what_fails_as_there_is_no_room_is_tried_until_there_is_ever_more_seldom() -> None:
    tracker = _frozen(SnapshotState.ABSENT)
    waits = []
    for _ in range(tracker_module.MAX_ATTEMPTS + 8):
        tracker.not_before = 0.0
        assert tracker.wanted()
        tracker.begin()
        freezing.remember(tracker, OSError(errno.ENOSPC, "No space left on device"), str)
        waits.append(round(tracker.not_before - time.monotonic()))
    assert waits == sorted(waits) and waits[-1] > 20 * waits[0]


class _Node:
    """A node whose CRIU can be asked or not."""

    def __init__(self) -> None:
        self.criu: object = None
        self.criu_not_asked, self.no_criu = True, "`criu check` fails: Cannot allocate memory"
        self.store = SimpleNamespace(get=lambda _key: None)
        self.stored = None
        self.works = False

    async def ask_for_criu(self) -> None:
        if self.works:
            self.criu = object()


def test_a_criu_that_cannot_be_asked_just_now_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = _Node()
    tracker = SnapshotTracker(cast(NodeContext, node), _SPEC, b"", {})
    monkeypatch.setattr(tracker, "_find", lambda: (None, None))
    asyncio.run(tracker.look())
    assert tracker.state is SnapshotState.UNKNOWN and "Cannot allocate" in tracker.why_none()
    node.works = True
    asyncio.run(tracker.look())
    assert tracker.state is SnapshotState.UNKNOWN  # not at every start
    tracker.look_after = 0.0
    asyncio.run(tracker.look())
    assert tracker.state is SnapshotState.ABSENT


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EMFILE, "Too many open files"), GpuError("not asked"), TimeoutError("late")],
    ids=repr,
)
def test_what_could_not_be_found_out_is_looked_for_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails() -> None:
        raise error

    node = _Node()
    node.criu = object()
    tracker = SnapshotTracker(cast(NodeContext, node), _SPEC, b"", {})
    monkeypatch.setattr(tracker, "_find", fails)
    asyncio.run(tracker.look())
    assert tracker.state is SnapshotState.UNKNOWN and tracker.reason == str(error)
    tracker.look_after = 0.0
    monkeypatch.setattr(tracker, "_find", lambda: (None, None))
    asyncio.run(tracker.look())
    assert tracker.state is SnapshotState.ABSENT


def test_starts_on_a_gpu_that_fail_for_a_reason_that_passes_put_a_snapshot_aside_for_a_while() -> (
    None
):
    tracker = _frozen(SnapshotState.READY)
    tracker.snapshot = cast(Snapshot, object())
    revision = SimpleNamespace(gpu_tracker=tracker, gpu_failures=0, label="app.function")
    for _ in range(gpu_restoring.MOST_FAILURES):
        error = StartError("a new process has no number")
        error.__cause__ = OSError(errno.EMFILE, "Too many open files")
        gpu_restoring.failed(cast(Revision, revision), error)
    assert tracker.snapshot is None and tracker.state is SnapshotState.UNKNOWN
    assert tracker.why_none().startswith("3 starts in a row failed")
    assert tracker.look_after > time.monotonic()  # then it is found, and used, again


def test_a_move_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InternalFailure, match="cannot go from"):
        _frozen(SnapshotState.READY).begin()


class LifeOfASnapshot(RuleBasedStateMachine):
    """Whatever happens in whatever order: there is a snapshot exactly when it is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = _frozen(SnapshotState.ABSENT)

    @rule()
    def begin(self) -> None:
        self.tracker.not_before = 0.0
        if self.tracker.wanted():
            self.tracker.begin()

    @rule()
    def made(self) -> None:
        if self.tracker.state is SnapshotState.MAKING:
            self.tracker.made(cast(Snapshot, object()))

    @rule(for_good=st.booleans())
    def failed(self, for_good: bool) -> None:
        if self.tracker.state is SnapshotState.MAKING:
            self.tracker.failed("why", for_good=for_good)

    @rule()
    def refused(self) -> None:
        self.tracker.refuse("corrupt")

    @invariant()
    def ready_means_there_is_one(self) -> None:
        assert (self.tracker.state is SnapshotState.READY) == (self.tracker.snapshot is not None)

    @invariant()
    def every_absence_but_success_has_a_reason(self) -> None:
        if self.tracker.state is SnapshotState.IMPOSSIBLE:
            assert self.tracker.reason


TestLifeOfASnapshot: Any = LifeOfASnapshot.TestCase
TestLifeOfASnapshot.settings = settings(max_examples=50, stateful_step_count=25)
