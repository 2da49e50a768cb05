"""The first child of a template: what it finds, and that it leaves nothing. Real forks."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.pinning import needs_pinning

pytestmark = pytest.mark.needs_root("makes PID namespaces of this one")

#: A template that parks. Prints what it learned and how it was afterwards.
_PROGRAM = """
import functools, json, os, signal, socket, sys
from rekindle.forkserver import fork_handlers, park
from rekindle.forkserver.template import Template
from rekindle.runtime.runner import first_child, rehearsal, serve, unique
from rekindle.wire.frames import FrameSocket
from tests.runtime.runner.left_as_it_was import state

said = []
fork_handlers.track()
handlers = {name: functools.partial(said.append, name)
    for name in ("before", "after_in_parent", "after_in_child")}
os.register_at_fork(**handlers)
fork_handlers.stop_tracking(ours_are_needless=True)

@unique.on_restore
def restored():
    os.write(2, b"on_restore ran")

how = sys.argv[1]
unique.prepare()
park.keep_from_collecting()
rehearsal.learn()
ours, theirs = socket.socketpair()
template = Template(FrameSocket(ours), "", isolate=lambda name: None)
template.forker.alone = True
template.renew = functools.partial(serve.renew, None)
if how == "fails":
    template.isolate = lambda name: 1 / 0
if how == "dies":
    template.isolate = lambda name: os._exit(3)
if how == "hangs":
    template.isolate = lambda name: signal.pause()
    first_child._PATIENCE_MS = 100
if how == "large":
    first_child._MOST_BYTES = 1 << 20
if how == "timer":
    template.things.timers = [None]

template.forker.prepare()
template.forker.release()
before = state(signal.SIGCHLD)
first_child.learn(template, None)
same = state(signal.SIGCHLD) == before
found = {"same": same, "said": said, "reason": template.forker.pages.reason}
found["pages"] = sum(size for _start, size in template.forker.pages.areas) // 4096
try:
    os.waitpid(-1, os.WNOHANG)
    found["children"] = True
except ChildProcessError:
    found["children"] = False
%s
print(json.dumps(found))
"""

#: And then children with and without: how many faults each had until its end.
_CHILDREN = """
import resource
def faults():
    reading, writing = os.pipe()
    with first_child._start_and_call() as channel:
        pid = template.forker.fork_isolated()
        if pid == 0:
            template.become_child("", False, channel.detach(), [])
            service = first_child.Service("", {"": first_child._nothing})
            serve.run(service, template.serve(), None)
            count = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            os.write(writing, str(count).encode())
            os._exit(0)
        os.waitpid(pid, 0)
    os.close(writing)
    with open(reading) as count:
        return int(count.read())
unique.forget_on_restore()
found["without"] = faults()
template.forker.pages.pin()
found["held"] = "anon_inode:[io_uring]" in state(signal.SIGCHLD)[0].values()
found["with"] = [faults(), faults()]
template.forker.close()
found["closed"] = "anon_inode:[io_uring]" not in state(signal.SIGCHLD)[0].values()
"""


def _learned(how: str, more: str = "") -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM % more, how],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert not done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@needs_pinning
def test_children_have_no_faults_for_what_the_first_one_wrote_to() -> None:
    found = _learned("", _CHILDREN)
    assert found["reason"] == "" and found["held"] and found["closed"]
    assert found["pages"] > 200
    # Some pages the first child has written to for its own part alone.
    assert all(found["without"] - faults > found["pages"] / 2 for faults in found["with"]), found


def test_it_runs_no_user_code_and_leaves_nothing() -> None:
    found = _learned("")
    assert found["pages"] and found["same"] and found["said"] == [] and not found["children"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("fails", "ZeroDivisionError: division by zero"),
        ("hangs", "the first child did not come to its end in 0.1 s"),
        ("dies", "the first child, or who looked at it, ended before it said anything"),
        ("large", "it has too much memory for more forks before the first start"),
        ("timer", "user code has its own sockets, signals, timers or output"),
    ],
)
def test_where_nothing_can_be_found_that_is_said_and_nothing_is_left(how: str, reason: str) -> None:
    found = _learned(how)
    assert (found["pages"], found["reason"]) == (0, reason)
    assert found["same"] and not found["children"]
