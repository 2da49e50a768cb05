"""What a fork would lose: right values all the same, by another way, and the reason said."""

from __future__ import annotations

import pytest

from tests.e2e.harness import Home

PROGRAM = """
    import json, mmap, os, signal, socket, sys
    import rekindle
    app = rekindle.App("losses")

    @app.cls(enable_memory_snapshot=True)
    class Holder:
        @rekindle.enter(snap=True)
        def load(self):
            {load}

        @rekindle.method()
        def look(self):
            {look}

    @app.local_entrypoint()
    def main():
        print(json.dumps(Holder().look.remote()))
"""
CASES = {
    "memory that forks leave out": (
        """self.m = mmap.mmap(-1, 65536, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            self.m.madvise(mmap.MADV_DONTFORK)
            self.m[0] = 7""",
        "return self.m[0]",
        7,
        "MADV_DONTFORK",
    ),
    "given up privileges": (
        "os.setresuid(65534, 65534, 65534)",
        "return os.getuid()",
        65534,
        "gave up its privileges",
    ),
    "a file of /proc": (
        "self.f = open('/proc/self/status')",
        "return f'Pid:\\t{os.getpid()}\\n' in self.f.read()",
        True,
        "a file of /proc",
    ),
    "a pipe of packets": (
        "self.p = os.pipe2(os.O_DIRECT)",
        """os.write(self.p[1], b'a')
            os.write(self.p[1], b'bb')
            return [len(os.read(self.p[0], 9)), len(os.read(self.p[0], 9))]""",
        [1, 2],
        "pipe of packets",
    ),
    "a pending signal": (
        """signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
            os.kill(os.getpid(), signal.SIGUSR1)""",
        "return [number.name for number in signal.sigpending()]",
        ["SIGUSR1"],
        "SIGUSR1 is pending",
    ),
    "another standard input": (
        "self.f = open(__file__); os.dup2(self.f.fileno(), 0)",
        "return os.read(0, 6) != b''",
        True,
        "descriptor 0 stands for",
    ),
    "an option of a socket": (
        """self.s = socket.socketpair()
            self.s[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 5)""",
        "return self.s[0].getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)",
        5,
        "SO_RCVLOWAT",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_state_that_a_fork_would_lose_is_right_in_both_runs_and_its_reason_is_said(
    home: Home, name: str
) -> None:
    load, look, right, reason = CASES[name]
    script = home.script(PROGRAM.replace("{load}", load).replace("{look}", look))
    first = home.run(script)
    assert first.value == right
    assert reason in first.err
    assert home.run(script).value == right
