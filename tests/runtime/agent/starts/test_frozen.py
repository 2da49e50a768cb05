"""The life of a revision's snapshot on its node: which moves there are, and what is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rekindle.exception import InternalFailure
from rekindle.runtime.agent.starts import frozen as frozen_module
from rekindle.runtime.agent.starts.frozen import FrozenState, FrozenTemplate
from rekindle.runtime.agent.toolbox import Toolbox
from rekindle.snapshot.store import Snapshot
from rekindle.wire.spec import FunctionSpec

_SPEC = FunctionSpec(app_name="app", name="function")


def _frozen(state: FrozenState = FrozenState.UNKNOWN) -> FrozenTemplate:
    # Neither the toolbox nor a real snapshot is looked at by what is tested here.
    return FrozenTemplate(cast(Toolbox, None), _SPEC, b"", {}, state=state)


def test_what_is_being_made_tells_its_step_and_the_bytes_that_are_written(tmp_path: Path) -> None:
    frozen = _frozen(FrozenState.ABSENT)
    assert frozen.progress() is None
    frozen.begin()
    progress = frozen.progress()
    assert progress is not None and progress.step == "loading"
    (tmp_path / "pages-1.img").write_bytes(b"x" * 5000)
    frozen.making_step, frozen.making_dir = "writing memory", tmp_path
    progress = frozen.progress()
    assert progress is not None and progress.written_bytes == 5000
    frozen.failed("no space", for_good=False)
    assert frozen.progress() is None


def test_one_that_cannot_be_made_is_not_tried_again_but_one_that_failed_is_later() -> None:
    frozen = _frozen(FrozenState.ABSENT)
    frozen.begin()
    frozen.failed("an open socket", for_good=True)
    assert frozen.state is FrozenState.IMPOSSIBLE and not frozen.wanted()
    frozen = _frozen(FrozenState.ABSENT)
    frozen.begin()
    frozen.failed("no space", for_good=False)
    assert not frozen.wanted()  # not at once
    frozen.not_before = 0.0
    assert frozen.wanted()
    assert frozen.reason == "no space"


def test_it_is_tried_a_bounded_number_of_times() -> None:
    frozen = _frozen(FrozenState.ABSENT)
    for _ in range(frozen_module.MAX_ATTEMPTS):
        assert frozen.wanted()
        frozen.begin()
        frozen.failed("no space", for_good=False)
        frozen.not_before = 0.0
    assert not frozen.wanted()


def test_a_move_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InternalFailure, match="cannot go from"):
        _frozen(FrozenState.READY).begin()


class LifeOfASnapshot(RuleBasedStateMachine):
    """Whatever happens in whatever order: there is a snapshot exactly when it is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = _frozen(FrozenState.ABSENT)

    @rule()
    def begin(self) -> None:
        self.frozen.not_before = 0.0
        if self.frozen.wanted():
            self.frozen.begin()

    @rule()
    def made(self) -> None:
        if self.frozen.state is FrozenState.MAKING:
            self.frozen.made(cast(Snapshot, object()))

    @rule(for_good=st.booleans())
    def failed(self, for_good: bool) -> None:
        if self.frozen.state is FrozenState.MAKING:
            self.frozen.failed("why", for_good=for_good)

    @rule()
    def refused(self) -> None:
        self.frozen.refuse("corrupt")

    @invariant()
    def ready_means_there_is_one(self) -> None:
        assert (self.frozen.state is FrozenState.READY) == (self.frozen.snapshot is not None)

    @invariant()
    def every_absence_but_success_has_a_reason(self) -> None:
        if self.frozen.state is FrozenState.IMPOSSIBLE:
            assert self.frozen.reason


TestLifeOfASnapshot: Any = LifeOfASnapshot.TestCase
