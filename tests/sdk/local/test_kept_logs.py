"""Logs that cannot be moved aside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.e2e.harness import SMALL_DISK

_PROGRAM = """
import sys
from pathlib import Path
from rekindle.sdk.local import kept_logs

kept_logs.MOST_BYTES = 1 << 20
folder = Path(sys.argv[1])
(folder / "agent.log").write_bytes(b"x" * (3 << 20))
kept_logs.move_aside(folder)
assert [one.name for one in folder.iterdir()] == ["agent.log"]
assert (folder / "agent.log").stat().st_size == 3 << 20
"""


def test_a_disk_without_room_for_a_copy_is_not_filled_by_a_part_of_it(tmp_path: Path) -> None:
    program = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    subprocess.run([*SMALL_DISK, str(tmp_path), "4m", *program], check=True, timeout=100)
