"""``rekindle run examples/hello.py`` from the shell, whole processes: the first, and later ones.

Beside ``python -c pass`` and ``python -c "import torch"``, in turn with them. The first finds no
instance and no snapshot; in between everything is ended, and its home is removed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lab.steps import Steps
from rekindle.bench.table import ms
from rekindle.exception import ExecutionError
from restoring.instance import ON_DISK

FIRST, SECOND, EMPTY, TORCH = (
    "first run",
    "second run",
    "python -c pass",
    'python -c "import torch"',
)
_HELLO = Path(__file__).resolve().parents[2] / "examples" / "hello.py"
_PATIENCE_S = 60.0


def measure(firsts: int, seconds: int, steps: Steps) -> dict[str, list[float]]:
    """Milliseconds of each: ``firsts`` homes, in each of them ``seconds`` later runs."""
    found: dict[str, list[float]] = {FIRST: [], SECOND: [], EMPTY: [], TORCH: []}
    for argv in ("pass", "import torch"):
        _python(argv)  # fills the page cache
    for _ in range(firsts):
        home = Path(tempfile.mkdtemp(prefix="rk-shell-", dir=ON_DISK))
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("REKINDLE_") and name != "CI"
        }
        environment["REKINDLE_HOME"] = str(home)
        try:
            found[FIRST].append(_hello(environment))
            steps.say(f"{FIRST}: {ms(found[FIRST][-1])} ms")
            for _ in range(seconds):
                found[SECOND].append(_hello(environment))
                found[EMPTY].append(_python("pass"))
                found[TORCH].append(_python("import torch"))
            steps.say(f"{SECOND}: {ms(found[SECOND][-1])} ms")
        finally:
            _run([str(_rekindle()), "down"], environment, check=False)
            shutil.rmtree(home, ignore_errors=True)
    return found


def _rekindle() -> Path:
    return Path(sys.executable).with_name("rekindle")


def _hello(environment: dict[str, str]) -> float:
    def run() -> None:
        out = _run([str(_rekindle()), "run", str(_HELLO)], environment)
        if "Hello, world!" not in out:
            raise ExecutionError(f"rekindle run examples/hello.py said {out[-200:]!r}")

    return _timed(run)


def _python(code: str) -> float:
    return _timed(lambda: _run([sys.executable, "-c", code], dict(os.environ)))


def _timed(run: Callable[[], object]) -> float:
    began = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - began) / 1e6


def _run(argv: list[str], environment: dict[str, str], *, check: bool = True) -> str:
    """Its output. Raises ExecutionError where it fails or takes too long."""
    with tempfile.TemporaryFile() as out:  # not a pipe: what lingers may hold its end open
        try:
            done = subprocess.run(
                argv,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=_PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ExecutionError(f"hangs: {' '.join(argv)}, {_PATIENCE_S:g} s") from None
        out.seek(0)
        text = out.read().decode(errors="replace")
    if check and done.returncode:
        raise ExecutionError(f"{' '.join(argv)} ended with {done.returncode}: {text[-300:]}")
    return text
