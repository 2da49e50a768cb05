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
