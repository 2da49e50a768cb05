"""What the machine can do at best: small processes that do one thing each time they are asked."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rekindle.bench.records import Run
from rekindle.exception import SetupError
from restoring.instance import ON_DISK

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Probe:
    """A process that measures when it is asked."""

    name: str
    process: subprocess.Popen[str]

    def ask(self) -> float:
        """One measurement, in milliseconds. Raises SetupError where the process has ended."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise SetupError(f"{self.name}: the process that measures it has ended") from None
        line = self.process.stdout.readline()
        if not line:
            raise SetupError(f"{self.name}: the process that measures it has ended")
        return float(line)

    def run(self) -> Run:
        """One measurement, as a run."""
        took = self.ask()
        return Run(total_ms=took, phases={})


@contextlib.contextmanager
def forks(name: str, *, memory: int = 0, pages: str = "4k") -> Iterator[Probe]:
    """``os.fork`` of a process that holds ``memory`` bytes, to the child's first byte.

    ``pages``: "4k" or "huge".
    """
    with _probe(name, ["-I", str(_HERE / "fork_probe.py"), "fork", str(memory), pages]) as probe:
        yield probe


@contextlib.contextmanager
def execs(name: str) -> Iterator[Probe]:
    """fork and exec of /bin/true, to its end."""
    with _probe(name, ["-I", str(_HERE / "fork_probe.py"), "exec"]) as probe:
        yield probe


@contextlib.contextmanager
def criu_restores(name: str) -> Iterator[Probe]:
    """CRIU's command line bringing ``sleep`` back, to the command's end."""
    with tempfile.TemporaryDirectory(prefix="rk-sleep-", dir=ON_DISK) as scratch:
        namespaces = ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child"]
        with _probe(name, [str(_HERE / "sleep_probe.py"), scratch], before=namespaces) as probe:
            yield probe


@contextlib.contextmanager
def _probe(name: str, arguments: list[str], before: list[str] | None = None) -> Iterator[Probe]:
    process = subprocess.Popen(
        [*(before or []), sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    try:
        if process.stdout.readline().strip() != "ready":
            raise SetupError(f"{name} cannot be measured: its process did not start")
        yield Probe(name, process)
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
