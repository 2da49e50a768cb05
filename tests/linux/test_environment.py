"""What is shown of a process as its environment."""

from __future__ import annotations

import os
import subprocess
import sys

_SHOWS = """
import os, sys
from rekindle.linux import environment
os.environ["COLOUR"] = "gr\u00fcn"
for _ in range(2):
    environment.show(os.environ.items())
print(flush=True)
sys.stdin.read()
"""


def test_others_see_what_a_process_was_told_late() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SHOWS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "FIRST": "1"},
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == b"\n"
        with open(f"/proc/{process.pid}/environ", "rb") as file:
            seen = file.read().split(b"\0")
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            assert file.read().split(b"\0")[1] == b"-c"
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"FIRST=1" in seen and os.fsencode("COLOUR=gr\u00fcn") in seen
