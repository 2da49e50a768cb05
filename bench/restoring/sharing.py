"""Memory of runners of one snapshot, each of which has read all of the model."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lab.steps import Steps
from rekindle.exception import ExecutionError
from rekindle.wire.phases import Strategy
from restoring.models import LAYER_BYTES
from restoring.scaling import SharedFigures
from restoring.sizes import Place
from restoring.threads import together


def measure(at: Place, runners: int, steps: Steps) -> SharedFigures:
    """One runner alone, then ``runners`` together. Raises ExecutionError where one is missing."""
    alone = _share(at, 1, steps)
    return SharedFigures(
        model_bytes=at.layers * LAYER_BYTES,
        alone_pss_bytes=alone[0],
        pss_bytes=_share(at, runners, steps),
    )


def _share(at: Place, runners: int, steps: Steps) -> list[int]:
    steps.say(f"{runners} restored, reading all of the model")
    at.settle()
    method = at.model.read_all
    with tempfile.TemporaryDirectory(prefix="rk-meeting-", dir=Path("/tmp")) as meeting:
        done = together(lambda: method.remote(meeting, runners), runners, Strategy.RESTORE)
    if done.errors:
        raise ExecutionError(f"{runners} runners at once: {done.errors[0]}")
    return [int(value) for value in done.values]
