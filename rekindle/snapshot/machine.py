"""What of this machine a frozen process depends on: kernel, processor, and their names."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass

from rekindle.snapshot.criu import Criu


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The part of a snapshot's ingredients that is the machine's, not the program's."""

    kernel: str
    arch: str
    cpu_features: tuple[str, ...]  # sorted
    criu: str


def here(criu: Criu) -> Machine:
    """This machine, with the CRIU that would restore."""
    kernel = os.uname()
    # Without root CRIU makes no time namespace, and a clock that runs backwards hangs programs: a
    # snapshot is then of one boot, whose monotonic clock only goes on.
    boot = f" boot {boot_id()}" if criu.unprivileged else ""
    return Machine(
        kernel=f"{kernel.release} {kernel.version}{boot}",
        arch=kernel.machine,
        cpu_features=cpu_features(),
        criu=criu.version,
    )


@functools.cache
def cpu_features() -> tuple[str, ...]:
    """Names of the first processor's features, sorted; libraries choose code paths by them.

    Raises OSError where they cannot be read just now, which is not remembered.
    """
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as cpuinfo:
            return parse_cpu_features(cpuinfo.read(1 << 16))
    except (FileNotFoundError, PermissionError):
        return ()


def parse_cpu_features(text: str) -> tuple[str, ...]:
    """Features of the first processor in the text of /proc/cpuinfo (x86 and Arm)."""
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() in ("flags", "Features"):
            return tuple(sorted(set(value.split())))
    return ()


def boot_id() -> str:
    """Changes at each boot of the machine; "" where it cannot be known. Raises OSError where it
    cannot be read just now."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as source:
            return source.read().strip()
    except (FileNotFoundError, PermissionError):
        return ""


def python_identity(interpreter: str, version: str) -> str:
    """Which Python: version, and path, size and time of the executable behind its links."""
    path = os.path.realpath(interpreter or sys.executable)
    try:
        info = os.stat(path)
    except OSError:
        return f"{version} {path}"
    return f"{version} {path} {info.st_size}:{info.st_mtime_ns}"
