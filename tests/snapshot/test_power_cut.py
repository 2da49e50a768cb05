"""What was committed is there, and whole, after a power cut: on a real disk that is cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekindle.snapshot import validate
from rekindle.snapshot.store import SnapshotStore
from tests import power_cut
from tests.snapshot.conftest import commit

pytestmark = power_cut.MARKS


@pytest.mark.parametrize("at_once", [False, True])
def test_a_committed_snapshot_is_there_and_whole_after_a_power_cut(
    tmp_path: Path, at_once: bool
) -> None:
    with power_cut.mounted(tmp_path) as disk:
        made = commit(SnapshotStore(disk.root / "snapshots"))
        later = disk.root / "later"
        later.write_text("not written")
        disk.cut_power(at_once=at_once)
        assert later.exists() is not at_once  # so it was a power cut
        assert at_once or later.read_text() == ""
        found = SnapshotStore(disk.root / "snapshots").get(made.key)
        assert found is not None and found.manifest == made.manifest
        assert validate.read_all(found) > 10_000
