"""A program whose starter ignored signals, or blocked them: an exec keeps both."""

from __future__ import annotations

import signal
import sys

import psutil
import pytest

from tests.e2e.harness import COMMAND, Home

PROGRAM = """
    import os, signal, subprocess
    import rekindle

    app = rekindle.App("given")

    @app.function()
    def seen():
        ended = subprocess.run(["sh", "-c", "exit 3"]).returncode
        return ended, signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGTERM)

    @app.cls(enable_memory_snapshot=True)
    class Held:
        @rekindle.enter(snap=True)
        def load(self):
            self.value = 7

        @rekindle.method()
        def get(self):
            return self.value

    @app.local_entrypoint()
    def main():
        print(Held().get.remote(), *seen.remote())
"""
_IGNORE = """
import os, signal, sys
for name in ("SIGCHLD", "SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""
_BLOCK = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("code", [_IGNORE, _BLOCK], ids=["ignored", "blocked"])
def test_neither_the_instance_nor_its_runners_have_them(home: Home, code: str) -> None:
    given = (sys.executable, "-c", code)
    assert "An instance is up" in home.start(*given, COMMAND, "up").end().out
    for process in (home.supervisor(), *home.supervisor().children(recursive=True)):
        has_blocked, ignores = _of(process, "SigBlk"), _of(process, "SigIgn")
        assert not {signal.SIGTERM, signal.SIGCHLD} & (has_blocked | ignores), process.cmdline()
    ended = home.start(*given, COMMAND, "run", home.script(PROGRAM)).end()
    assert ended.out.endswith("7 3 set() 0\n"), str(ended)
    down = home.start(*given, COMMAND, "down").end()
    assert (down.status, down.out) == (0, "The instance is down.\n"), str(down)


def test_the_status_of_a_command_in_a_runner_is_known_where_sigchld_was_ignored(
    shared: Home,
) -> None:
    script = shared.script(PROGRAM)
    command = ("shell", f"{script}::seen", "-c", "exit 5")
    ended = shared.start(sys.executable, "-c", _IGNORE, COMMAND, *command).end()
    assert ended.status == 5, str(ended)


def _of(process: psutil.Process, field: str) -> set[int]:
    """The signals of a mask in its status."""
    with open(f"/proc/{process.pid}/status") as file:
        (mask,) = (line.split()[1] for line in file if line.startswith(f"{field}:"))
    return {number for number in signal.valid_signals() if int(mask, 16) >> (number - 1) & 1}
