"""Processor time of an instance, of processes that have ended too.

By a cgroup of its own where one can be made (cpu.stat of v2, cpuacct.usage of v1): the kernel
counts in nanoseconds, and whoever ends, however it ends, has been counted. Elsewhere by /proc,
where children of a namespace that was ended from outside are missing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Group:
    """A cgroup, or none: then ``used_s`` is None."""

    used_s: Callable[[], float] | None
    how: str


@contextlib.contextmanager
def group(
    name: str,
) -> Iterator[tuple[Group, Callable[[], contextlib.AbstractContextManager[None]]]]:
    """A cgroup, and a context in which processes are started into it.

    It is removed at the end, when all that was in it has ended.
    """
    found = _place(name)
    if found is None:
        yield Group(None, "/proc, children that were waited for included"), contextlib.nullcontext
        return
    path, home, used_s, how = found

    @contextlib.contextmanager
    def within() -> Iterator[None]:
        _move(path)
        try:
            yield
        finally:
            _move(home)

    try:
        yield Group(used_s, how), within
    finally:
        _remove(path)


def _move(to: Path) -> None:
    (to / "cgroup.procs").write_text(str(os.getpid()))


def _place(name: str) -> tuple[Path, Path, Callable[[], float], str] | None:
    """A new cgroup, the one that this process is in, what was used in the new one, and its kind."""
    of_v1, of_v2 = _own()
    for home, how in ((of_v2, "cgroup v2"), (of_v1, "cgroup v1")):
        if home is None:
            continue
        path = home / f"{name}-{os.getpid()}"
        reader = _reader(path)
        try:
            path.mkdir()
            reader()
            _move(path)
            _move(home)
        except OSError:
            with contextlib.suppress(OSError):
                path.rmdir()
            continue
        return path, home, reader, how
    return None


def _own() -> tuple[Path | None, Path | None]:
    """Where this process is, below cpuacct of v1 and below v2."""
    mounts: dict[str, str] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _source, options = rest.split(" ", 2)
        if kind == "cgroup2":
            mounts.setdefault("", fields.split()[4])
        elif kind == "cgroup" and "cpuacct" in options.split(","):
            mounts.setdefault("cpuacct", fields.split()[4])
    found: dict[str, Path] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _number, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            if name in mounts:
                found[name] = Path(mounts[name] + path)
    return found.get("cpuacct"), found.get("")


def _reader(path: Path) -> Callable[[], float]:
    def used_s() -> float:
        if (path / "cpuacct.usage").exists():
            return int((path / "cpuacct.usage").read_text()) / 1e9
        stat = dict(line.split() for line in (path / "cpu.stat").read_text().splitlines())
        return int(stat["usage_usec"]) / 1e6

    return used_s


def _remove(path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            path.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)  # what was killed is still ending
