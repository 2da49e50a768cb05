"""Logs that are too long move aside, or stay as they are where there is no room for that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_MOVE = """
import resource, sys
from pathlib import Path
from rekindle.sdk.local import kept_logs
kept_logs.MOST_BYTES = 100_000
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
kept_logs.move_aside(Path(sys.argv[1]))
"""


def move_aside(folder: Path, *, room: int) -> str:
    """In a process whose files cannot be longer than ``room``; what it says."""
    command = [sys.executable, "-c", _MOVE, str(folder), str(room)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr


def test_a_log_that_there_is_no_room_to_copy_stays_and_leaves_no_part_of_a_copy(
    tmp_path: Path,
) -> None:
    log = tmp_path / "agent.log"
    log.write_text("x" * 200_000)
    assert "a log grows" in move_aside(tmp_path, room=150_000)
    assert [one.name for one in tmp_path.iterdir()] == ["agent.log"]
    assert log.stat().st_size == 200_000
    move_aside(tmp_path, room=1_000_000)
    assert (tmp_path / "agent.log.1").stat().st_size == 200_000
    assert log.stat().st_size == 0
