"""Forks without what Python does about other threads, but with the handlers of user code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import warnings

import pytest

from rekindle.forkserver import forking
from tests import warned_forks

_PROGRAM = """
import json, os, sys, threading
from rekindle.forkserver import fork_handlers, forking

said = []
fork_handlers.track()
os.register_at_fork(
    before=lambda: said.append("before 1"),
    after_in_parent=lambda: said.append("parent 1"),
    after_in_child=lambda: said.append("child 1"),
)
os.register_at_fork(before=lambda: said.append("before 2"), after_in_child=lambda: 1 / 0)
os.register_at_fork(after_in_child=lambda: said.append("child 3"))
ours = "os.register_at_fork(after_in_child=lambda: said.append('ours'))"
exec(ours, {"os": os, "said": said, "__name__": "rekindle.sdk.connection"})
fork_handlers.stop_tracking(ours_are_needless=sys.argv[2] == "needless")
os.register_at_fork(after_in_child=lambda: said.append("registered after the park"))
alone = sys.argv[1] == "alone"
read, write = os.pipe()
pid = forking.fork(alone=alone)
if pid == 0:
    at_once = [*said]
    fork_handlers.run_due()
    fork_handlers.run_due()
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
    os.write(write, json.dumps([at_once, said, ours, out, child.stdout.strip()]).encode())
    os._exit(0)
os.waitpid(pid, 0)
print(json.dumps([json.loads(os.read(read, 4096)), said]))
"""


@pytest.mark.parametrize("needs_ours", ["needless", "needed"])
@pytest.mark.parametrize("how", ["alone", "with threads"])
def test_handlers_of_user_code_run_and_the_child_can_do_all_that_a_process_can(
    how: str, needs_ours: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, how, needs_ours],
        capture_output=True,
        text=True,
        check=True,
    )
    in_child, in_parent = json.loads(ended.stdout)
    at_once, in_child, main_thread_is_ours, thread_ran, printed = in_child
    before = ["before 2", "before 1"]
    if how == "alone":  # those of users wait until it is a runner
        ours = ["ours"] if needs_ours == "needed" else []
        assert at_once == [*before, *ours]
        assert in_child == [*before, *ours, "child 1", "child 3"]
    else:
        assert in_child == [*before, "child 1", "child 3", "ours", "registered after the park"]
    assert in_parent == [*before, "parent 1"]
    assert thread_ran == [True] and printed == "42"
    assert main_thread_is_ours or how != "alone"  # some versions of Python leave the parent's
    assert "Exception ignored in" in ended.stderr and "ZeroDivisionError" in ended.stderr


@pytest.mark.parametrize("warns", [False, True])
def test_a_process_with_threads_forks_where_each_warning_is_to_raise(
    warns: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if warns:
        warned_forks.make(monkeypatch)
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if (pid := forking.fork(alone=False)) == 0:
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
            with pytest.raises(DeprecationWarning):
                warnings.warn("all others raise", DeprecationWarning, stacklevel=1)
    finally:
        over.set()
        thread.join()
