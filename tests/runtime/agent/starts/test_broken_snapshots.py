"""Notes of what the store has lost or damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekindle.runtime.agent.starts.broken_snapshots import BrokenSnapshots
from tests import exhausted


def test_a_note_of_damage_that_cannot_be_read_just_now_is_not_taken_for_none(
    tmp_path: Path,
) -> None:
    notes = BrokenSnapshots(tmp_path)
    notes.note("sn-1", ["b1"])
    with exhausted.descriptors(0), pytest.raises(OSError, match="Too many open files"):
        notes.has("sn-1", ["b1"])
    assert notes.has("sn-1", ["b1"]) and not notes.has("sn-1", ["b2"])
    assert not notes.has("sn-2", ["b1"])
