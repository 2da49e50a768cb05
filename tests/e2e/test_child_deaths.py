"""What user code has set for the ends of children: it hears of its own, and of none of ours."""

from __future__ import annotations

import pytest

from tests.e2e.harness import Home

PROGRAM = """
import os, signal, time
import rekindle

app = rekindle.App("deaths")
options = {"enable_memory_snapshot": True, "single_use_containers": True}

@app.cls(**options)
class Ignores:
    @rekindle.enter(snap=True)
    def load(self):
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    @rekindle.method()
    def look(self):
        return signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN

@app.cls(**options)
class Raises:
    @rekindle.enter(snap=True)
    def load(self):
        def heard(*_):
            raise RuntimeError("a child has ended")
        signal.signal(signal.SIGCHLD, heard)
    @rekindle.method()
    def look(self):
        return signal.getsignal(signal.SIGCHLD).__name__ == "heard"

@app.cls(**options)
class Reaps:
    @rekindle.enter(snap=True)
    def load(self):
        self.heard = []
        def heard(*_):
            self.heard.append(os.waitpid(-1, os.WNOHANG)[0])
        signal.signal(signal.SIGCHLD, heard)
    @rekindle.method()
    def look(self):
        before = list(self.heard)
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        while not self.heard:
            time.sleep(0.001)
        return before == [] and self.heard == [pid]

@app.cls(**options)
class Blocks:
    @rekindle.enter(snap=True)
    def load(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    @rekindle.method()
    def look(self):
        return signal.SIGCHLD not in signal.sigpending()

@app.local_entrypoint()
def main():
    for made in (Ignores(), Raises(), Reaps(), Blocks()):
        print(*(made.look.remote() for _ in range(4)))
"""


@pytest.mark.criu
def test_user_code_hears_of_the_ends_of_its_own_children_and_of_no_others(home: Home) -> None:
    script = home.script(PROGRAM)
    for first in ("cold", "restore"):
        assert home.run(script).out == "True True True True\n" * 4, first
        assert len(home.snapshots()) == 4


ORPHANS = """
import contextlib, multiprocessing, os, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor
import rekindle

app = rekindle.App("orphans")
MANY = 20

def ended():
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        # Some end while they are looked at.
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
            if file.read().rpartition(") ")[2].startswith("Z"):
                found.add(int(name))
    return found

def daemon():
    between = os.fork()
    if between == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(0.01)
        os._exit(0)
    os.waitpid(between, 0)

class Leaves:
    def work(self, what):
        if what == "leave":
            for _ in range(MANY - 1):
                daemon()
            subprocess.run("true &", shell=True, start_new_session=True)
            forked = os.fork()
            if forked == 0:
                os._exit(4)
            self.forked = forked
            self.child = subprocess.Popen(["sh", "-c", "exit 5"])
            self.leader = subprocess.Popen(["sh", "-c", "exit 6"], start_new_session=True)
            self.other = multiprocessing.get_context("fork").Process(target=sys.exit, args=(7,))
            self.other.start()
            while len(ended()) < MANY + 4:
                time.sleep(0.01)
            return os.getpid()
        if what == "left":
            return len(ended())
        self.other.join()
        status = os.waitstatus_to_exitcode(os.waitpid(self.forked, 0)[1])
        return [status, self.child.wait(), self.leader.wait(), self.other.exitcode]

options = {"enable_memory_snapshot": True}

@app.cls(**options)
class OneByOne(Leaves):
    @rekindle.method()
    def do(self, what):
        return self.work(what)

@app.cls(**options)
@rekindle.concurrent(max_inputs=2)
class InThreads(Leaves):
    @rekindle.method()
    def do(self, what):
        return self.work(what)

@app.cls(**options)
@rekindle.concurrent(max_inputs=2)
class OnALoop(Leaves):
    @rekindle.method()
    async def do(self, what):
        return self.work(what)

@app.cls(**options)
class InBatches(Leaves):
    @rekindle.batched(max_batch_size=2, wait_ms=1)
    def do(self, whats):
        return [self.work(what) for what in whats]

@app.local_entrypoint()
def main(queued: bool = False):
    def told(made):
        ask = (lambda what: made.do.spawn(what).get()) if queued else made.do.remote
        before = ask("leave")
        while (left := ask("left")) > 4:
            time.sleep(0.05)
        return "PID", before, "left", left, "own", ask("ends")

    with ThreadPoolExecutor(4) as threads:  # each waits for a look of its runner's
        for one in threads.map(told, (OneByOne(), InThreads(), OnALoop(), InBatches())):
            print(*one)
"""


@pytest.mark.parametrize("way", [(), ("--queued",)], ids=["leased", "queued"])
def test_daemons_that_have_ended_are_collected_and_no_child_of_user_code_is(
    home: Home, way: tuple[str, ...]
) -> None:
    ended = home.rekindle("run", home.script(ORPHANS), *way)
    assert ended.out == "PID 1 left 4 own [4, 5, 6, 7]\n" * 4, str(ended)
