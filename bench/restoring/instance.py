"""Instances of rekindle for the benchmark: in a home of their own, in a wished restore mode."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from rekindle.sdk.local import session
from rekindle.sdk.local.directory import logs_dir
from rekindle.snapshot.store import SnapshotStore

#: Room for the largest number of starts at once, and some.
MAX_RUNNERS = 64
#: Everything that is kept between parts lies here: on a disk, as the real store does.
ON_DISK = Path("/var/tmp")

#: An instance is quiet when it used less processor time than this in this long.
_QUIET_CPU_S, _QUIET_S, _PATIENCE_S = 0.011, 0.1, 60.0


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """A ``REKINDLE_HOME`` for all instances of a run, removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="rk-bench-", dir=ON_DISK))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True)
class Instance:
    """A running instance."""

    home: Path
    directory: Path
    supervisor: psutil.Process

    def store(self) -> SnapshotStore:
        """Its snapshots."""
        return SnapshotStore(self.home / "snapshots")

    @contextlib.contextmanager
    def chosen(self) -> Iterator[None]:
        """Within, an app that is run runs here."""
        with _environment(REKINDLE_DIR=str(self.directory)):
            yield

    def processes(self) -> list[psutil.Process]:
        """All its processes, runners included."""
        return [self.supervisor, *self.supervisor.children(recursive=True)]

    def cpu_s(self) -> float:
        """Processor time of its processes, and of their children that have ended."""
        used = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                used += sum(process.cpu_times()[:4])  # user, system, and those of its children
        return used

    def settle(self) -> None:
        """Return when what the last run left behind is done: ends of runners, things made again."""
        deadline = time.monotonic() + _PATIENCE_S
        before = self.cpu_s()
        while time.monotonic() < deadline:
            time.sleep(_QUIET_S)  # that nothing happens gives no event
            now = self.cpu_s()
            if now - before < _QUIET_CPU_S:
                return
            before = now


@contextlib.contextmanager
def instance(
    home_dir: Path, mode: str = "auto", max_runners: int = MAX_RUNNERS
) -> Iterator[Instance]:
    """An instance whose agent restores in ``mode``: "auto" or "copied"."""
    directory = Path(tempfile.mkdtemp(prefix="rk-", dir=home_dir))
    with _environment(
        REKINDLE_HOME=str(home_dir),
        REKINDLE_RESTORE_MODE=mode,
        REKINDLE_MAX_RUNNERS=str(max_runners),
    ):
        process = session.start_supervisor(directory, parent_pid=os.getpid())
    try:
        session.wait_ready(process, directory, session.START_S)
        yield Instance(home_dir, directory, psutil.Process(process.pid))
    except BaseException:
        _show_end_of_log(directory)
        raise
    finally:
        session.end_process(process, session.END_S)
        if process.stdout is not None:
            process.stdout.close()
        shutil.rmtree(directory, ignore_errors=True)


def _show_end_of_log(directory: Path) -> None:
    with contextlib.suppress(OSError):
        text = (logs_dir(directory) / "agent.log").read_text(errors="replace")
        sys.stderr.write("".join(f"  {line}\n" for line in text.splitlines()[-10:]))


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
