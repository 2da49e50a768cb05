"""What the machine can do at best: small processes that do one thing each time they are asked."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.answerer import Answerer, answerer
from rekindle.bench.records import Run
from restoring.instance import ON_DISK

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Probe:
    """A process that measures one thing when it is asked."""

    _process: Answerer

    def ask(self) -> float:
        """One measurement, in milliseconds. Raises SetupError where the process has ended."""
        return float(self._process.ask("go"))

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
        with _probe(name, [str(_HERE / "sleep_probe.py"), scratch], namespaces) as probe:
            yield probe


@contextlib.contextmanager
def _probe(name: str, arguments: Sequence[str], before: Sequence[str] = ()) -> Iterator[Probe]:
    with answerer(name, arguments, before=before) as process:
        yield Probe(process)
