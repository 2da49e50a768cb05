"""Forks without what Python does about other threads; handlers of user code run as ever."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_PROGRAM = """
import json, os, sys, threading
from rekindle.forkserver import forking

said = []
forking.track_handlers()
os.register_at_fork(
    before=lambda: said.append("before 1"),
    after_in_parent=lambda: said.append("parent 1"),
    after_in_child=lambda: said.append("child 1"),
)
os.register_at_fork(before=lambda: said.append("before 2"), after_in_child=lambda: 1 / 0)
os.register_at_fork(after_in_child=lambda: said.append("child 3"))
forking.stop_tracking()
os.register_at_fork(after_in_child=lambda: said.append("registered after the park"))
alone = sys.argv[1] == "alone"
read, write = os.pipe()
pid = forking.fork(alone=alone)
if pid == 0:
    import subprocess
    lock, out = threading.RLock(), []
    def work():
        with lock:
            out.append(threading.get_native_id() != threading.main_thread().native_id)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    ours = threading.main_thread().native_id == threading.get_native_id()
    child = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True)
    os.write(write, json.dumps([said, ours, out, child.stdout.strip()]).encode())
    os._exit(0)
os.waitpid(pid, 0)
print(json.dumps([json.loads(os.read(read, 4096)), said]))
"""


@pytest.mark.parametrize("how", ["alone", "with threads"])
def test_handlers_of_user_code_run_and_the_child_can_do_all_that_a_process_can(how: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, check=True
    )
    (in_child, main_thread_is_ours, thread_ran, printed), in_parent = json.loads(ended.stdout)
    before = ["before 2", "before 1"]
    if how == "alone":
        assert in_child == [*before, "child 1", "child 3"]
    else:
        assert in_child == [*before, "child 1", "child 3", "registered after the park"]
    assert in_parent == [*before, "parent 1"]
    assert thread_ran == [True] and printed == "42"
    assert main_thread_is_ours or how != "alone"  # some versions of Python leave the parent's
    assert "ZeroDivisionError" in ended.stderr  # shown, as Python shows it
