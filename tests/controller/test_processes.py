"""The programs that tests fork: nothing of them outlives the process that runs the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

PROGRAM = """
import signal
from tests.controller.harness import running_instance

with running_instance() as instance:
    print(instance.controller.pid, instance.redis.pid, instance.directory, flush=True)
    signal.pause()
"""


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_controller_and_its_redis_end_with_a_test_process_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as tests:
        assert tests.stdout is not None
        *pids, directory = tests.stdout.readline().split()
        programs = [psutil.Process(int(pid)) for pid in pids]
        assert len(programs) == 2
        tests.kill()
    deadline = time.monotonic() + 60
    while not all(map(_has_ended, programs)):
        assert time.monotonic() < deadline, programs
        time.sleep(0.02)
    shutil.rmtree(directory)
