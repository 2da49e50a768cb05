"""The background thread of a program that ends."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, os, signal
from rekindle.sdk.connection.background import background

async def closes():
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.Event().wait()

background().at_close(closes)
"""


def test_ctrl_c_while_a_program_ends_is_not_a_word() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")
