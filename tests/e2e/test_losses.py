"""What a fork would lose: right values all the same, by another way, and the reason said."""

from __future__ import annotations

import os

from tests.e2e.harness import Home

HEAD = """
    import json, mmap, os, signal, socket, sys
    import rekindle
    app = rekindle.App("losses")
"""
CLASS = """
    @app.cls(enable_memory_snapshot=True)
    class Case{number}:
        @rekindle.enter(snap=True)
        def load(self):
            {load}

        @rekindle.method()
        def look(self):
            {look}
"""
MAIN = """
    @app.local_entrypoint()
    def main():
        cases = [{cases}]
        print(json.dumps([case().look.remote() for case in cases]))
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

if os.geteuid() != 0:
    del CASES["given up privileges"]  # nobody else has any


def program() -> str:
    """A class for each case, and an entrypoint that looks at all of them."""
    classes = [
        CLASS.replace("{number}", str(number)).replace("{load}", load).replace("{look}", look)
        for number, (load, look, _right, _reason) in enumerate(CASES.values())
    ]
    names = ", ".join(f"Case{number}" for number in range(len(CASES)))
    return HEAD + "".join(classes) + MAIN.replace("{cases}", names)


def test_state_that_a_fork_would_lose_is_right_in_both_runs_and_its_reason_is_said(
    home: Home,
) -> None:
    script = home.script(program())
    first = home.run(script)
    rights = {name: right for name, (_load, _look, right, _reason) in CASES.items()}
    assert dict(zip(CASES, first.value, strict=True)) == rights
    for number, (name, (*_, reason)) in enumerate(CASES.items()):
        said = [line for line in first.err.splitlines() if f"Case{number}" in line]
        assert any(reason in line for line in said), (name, first.err)
    assert dict(zip(CASES, home.run(script).value, strict=True)) == rights
