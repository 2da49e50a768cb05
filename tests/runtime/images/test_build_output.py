"""What a build prints: what of it is hidden, and what of another's build is shown."""

from __future__ import annotations

import errno
from collections import deque
from pathlib import Path

import pytest

from rekindle.exception import ImageBuildError, ImageError, LayerLostError
from rekindle.runtime.images.build_output import BuildFollower, explained, without_secrets
from rekindle.wire.images import Step, StepKind

STEP = Step(kind=StepKind.RUN, title="run('make')")
NAME = "0123456789abcdef"


def test_a_secret_that_holds_another_is_hidden_whole_and_one_of_several_lines_in_each() -> None:
    values = {"SHORT": "hunter", "LONG": "hunter-two", "KEY": "begin key\nabcdef\nend key"}
    assert without_secrets(values, "with hunter-two, hunter") == "with <LONG>, <SHORT>"
    assert without_secrets(values, "  abcdef") == "  <KEY>"
    assert without_secrets({"ANY": "abc"}, "abc is in many words") == "abc is in many words"


def test_lines_of_another_build_are_said_once_and_whole(tmp_path: Path) -> None:
    said: list[str] = []
    following = BuildFollower(tmp_path / "log", said.append)
    following.more()
    assert said == ["another process builds it; waiting for it"], "it has printed nothing yet"
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        for text in ("Größe\nhal", "f\n"):
            log.write(text)
            log.flush()
            following.more()
    assert said[1:] == ["Größe", "half"]


def test_a_failure_shows_what_was_printed_last() -> None:
    last = deque(["the last line"])
    shown = "odd\n    the last line\nlayer 0123456789ab$"
    with pytest.raises(ImageBuildError, match=shown), explained(STEP, NAME, last):
        raise ImageError("odd")


def test_a_full_disk_is_named_with_what_makes_room() -> None:
    words = "the disk is full; `rekindle image gc`"
    with pytest.raises(ImageBuildError, match=words), explained(STEP, NAME, deque()):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_lost_layer_below_is_no_failure_of_the_step() -> None:
    with pytest.raises(LayerLostError), explained(STEP, NAME, deque()):
        raise LayerLostError("gone")
