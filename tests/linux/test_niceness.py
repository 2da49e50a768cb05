"""Niceness that is lowered again, in real processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from rekindle.linux import niceness

_SLEEPS = """
import threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
print(flush=True)
time.sleep(600)
"""
_TRIES = """
import os
from rekindle.linux import niceness
before = niceness.may_lower()
os.nice(1)
try:
    os.nice(-1)
    able = True
except OSError:
    able = False
assert before is able, (before, able)
"""


@pytest.mark.skipif(not niceness.may_lower(), reason="niceness cannot be lowered here")
def test_all_threads_of_a_process_are_made_as_nice_as_this_one() -> None:
    with subprocess.Popen(
        ["nice", "-n", "7", sys.executable, "-c", _SLEEPS], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            own = os.getpriority(os.PRIO_PROCESS, 0)
            threads = [int(one) for one in os.listdir(f"/proc/{process.pid}/task")]
            assert len(threads) == 2
            assert {os.getpriority(os.PRIO_PROCESS, one) for one in threads} == {own + 7}
            niceness.as_this_process(process.pid)
            assert {os.getpriority(os.PRIO_PROCESS, one) for one in threads} == {own}
        finally:
            process.kill()


def test_it_is_known_beforehand_whether_it_can_be_lowered() -> None:
    tried = subprocess.run(
        [sys.executable, "-c", _TRIES],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NICE, (0, 0)),
    )
    assert tried.returncode == 0, tried.stderr
