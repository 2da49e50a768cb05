"""Processes of a section's own: what must be fresh, or must be killed, runs in one of these."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import IO, Any


class Child:
    """Python code that reads orders from standard input, a line each, and answers in JSON.

    The code gets ``ask(line)`` to define: what it returns is the answer.
    """

    def __init__(self, code: str, *, prefix: tuple[str, ...] = (), **more: Any) -> None:
        loop = (
            "\nimport json, sys\n"
            "print(json.dumps('ready'), flush=True)\n"
            "for line in sys.stdin:\n"
            "    print(json.dumps(ask(line.strip())), flush=True)\n"
        )
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", textwrap.dedent(code) + loop],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **more,
        )
        self._answer()

    def ask(self, line: str) -> Any:
        """The answer to one order. Raises RuntimeError where the process ended."""
        stdin = self.process.stdin
        assert stdin is not None
        stdin.write(line + "\n")
        stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        stdout: IO[str] | None = self.process.stdout
        assert stdout is not None
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended with status {self.process.wait()}")
        return json.loads(line)

    def kill(self) -> None:
        """And wait."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def last_json(code: str, *arguments: str, timeout_s: float = 120) -> Any:
    """What a fresh Python prints last. Raises RuntimeError with its last error."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise RuntimeError(said[-1])
    return json.loads(done.stdout.splitlines()[-1])
