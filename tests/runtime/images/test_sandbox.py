"""What a step of a build may have."""

from __future__ import annotations

import pytest

from rekindle.linux import limits
from rekindle.runtime.images import sandbox


@pytest.mark.needs_root("steps of a build are root's")
def test_a_step_may_have_as_many_files_open_as_the_agent_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What closes every descriptor that it might have takes long where these are a million."""
    monkeypatch.setattr(limits, "_given", 300)  # as if the limit had been raised
    lines: list[str] = []
    order = {"program": ["/bin/sh", "-c", "ulimit -Sn"], "env": {}}
    assert sandbox.run(order, lines.append, 60.0) == (0, {})
    assert lines == ["300"]
