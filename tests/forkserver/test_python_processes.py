"""What multiprocessing started for itself is gone when a template parks, and there again when used.

With the start method that is the default from Python 3.14 on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

_PROGRAM = """
import multiprocessing, os, tempfile
from rekindle.forkserver import process_state, python_processes

def twice(n):
    return 2 * n

def park(*grandchildren):  # those that are seen in a sandbox
    others = process_state.other_processes(in_sandbox=False)
    python_processes.end_all([*others, *grandchildren])
    return process_state.other_processes(in_sandbox=False)

def fds():
    return len(os.listdir("/proc/self/fd"))

if __name__ == "__main__":
    before = fds()
    context = multiprocessing.get_context("forkserver")
    for _ in range(2):
        with context.Pool(1) as pool:
            assert pool.map(twice, [1, 2]) == [2, 4]
        del pool
        assert len(process_state.other_processes(in_sandbox=False)) == 2
        assert park() == []
        assert os.listdir(tempfile.gettempdir()) == []
    assert fds() == before, os.listdir("/proc/self/fd")
    reading, writing = multiprocessing.Pipe()
    process = context.Process(target=writing.recv)
    process.start()
    left = park(process.pid)
    assert len(left) == 1, left  # the server: the process is its child, and the user's to end
    reading.send(0)
    process.join()
    assert process.exitcode == 0
    assert park() == []
    with context.Pool(1) as pool:
        pool.map(twice, [1])
    for pid in process_state.other_processes(in_sandbox=False):  # as a program's own reaper does
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert park() == []
"""


def test_its_fork_server_and_its_tracker_end_unless_a_process_of_the_users_lives(
    tmp_path: object,
) -> None:
    program = f"{tmp_path}/program.py"
    with open(program, "w") as file:
        file.write(_PROGRAM)
    # Not in ``tmp_path``: the path of a socket is short.
    with tempfile.TemporaryDirectory(prefix="rk-") as directory:
        subprocess.run(
            [sys.executable, program],
            check=True,
            timeout=100,
            env=os.environ | {"TMPDIR": directory},
        )
