"""``rekindle run`` as somebody at a shell meets it: whole processes, from start to end.

The first run brings an instance up, the second finds it; beside them Python alone, and Python with
PyTorch. All in a home of its own, of which nothing is left. Prints nothing.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.bench.summary import median
from rekindle.exception import Error

HELLO = Path(__file__).parents[2] / "examples" / "hello.py"
_LIMIT_S = 120.0


@dataclass
class Samples:
    """One command, measured again and again: wall time, and CPU time of what it waited for, ms.

    What the instance does for it is not in the CPU time.
    """

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        """The median of the wall times."""
        return median(self.wall_ms)


@dataclass(frozen=True)
class ShellTimes:
    """What was measured in one go, rounds interleaved."""

    #: ``python -c pass``
    python: Samples
    #: ``python -c "import torch"``; None where there is none.
    torch: Samples | None
    #: ``rekindle run`` of a script that calls a function, without an instance ...
    first: Samples
    #: ... and again.
    second: Samples


def measure(
    rounds: int = 7, script: Path = HELLO, progress: Callable[[int], None] = lambda _round: None
) -> ShellTimes:
    """Measure all four ``rounds`` times. Raises Error where a command fails."""
    python = [sys.executable, "-c", "pass"]
    torch = [sys.executable, "-c", "import torch"]
    run = [str(Path(sys.executable).with_name("rekindle")), "run", "-q", str(script)]
    times = ShellTimes(Samples(), Samples() if _has_torch() else None, Samples(), Samples())
    with _home() as environ:
        for number in range(rounds):
            progress(number)
            _timed(python, environ, times.python)
            if times.torch is not None:
                _timed(torch, environ, times.torch)
            _timed(run, environ, times.first)
            _timed(run, environ, times.second)
            _down(environ)
    return times


def _has_torch() -> bool:
    from importlib.util import find_spec

    return find_spec("torch") is not None


@contextmanager
def _home() -> Iterator[dict[str, str]]:
    """The environment of programs with a home of their own; what lingers there ends with it."""
    home = Path(tempfile.mkdtemp(prefix="rk-shell-"))
    kept = {
        name: value
        for name, value in os.environ.items()
        # As installed packages have it: with the bytecode of rekindle, as of all else.
        if name not in ("CI", "REKINDLE_DIR", "REKINDLE_METRICS", "PYTHONDONTWRITEBYTECODE")
    }
    environ = kept | {"REKINDLE_HOME": str(home), "REKINDLE_LINGER": "10m"}
    try:
        yield environ
    finally:
        _down(environ)
        shutil.rmtree(home, ignore_errors=True)


def _down(environ: Mapping[str, str]) -> None:
    command = [str(Path(sys.executable).with_name("rekindle")), "down"]
    _run(command, environ)


def _timed(command: list[str], environ: Mapping[str, str], into: Samples) -> None:
    began, before = time.perf_counter(), _cpu_s()
    _run(command, environ)
    into.wall_ms.append((time.perf_counter() - began) * 1e3)
    into.cpu_ms.append((_cpu_s() - before) * 1e3)


def _run(command: list[str], environ: Mapping[str, str]) -> None:
    ended = subprocess.run(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if ended.returncode != 0:
        raise Error(f"{' '.join(command)} ended with {ended.returncode}: {ended.stderr.strip()}")


def _cpu_s() -> float:
    """CPU time of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
