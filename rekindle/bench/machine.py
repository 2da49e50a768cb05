"""The machine that a figure was measured on: what a reader needs to judge it, and no more.

No host name, user name or path: reports are made to be published.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from rekindle.exception import CriuNotFoundError
from rekindle.snapshot import criu
from rekindle.wire.version import __version__


def describe() -> dict[str, Any]:
    """CPU, memory, kernel, Python, rekindle and CRIU of this machine."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "arch": platform.machine(),
        "kernel": platform.release().partition("-")[0],  # without the builder's suffix
        "os": _os_name(),
        "python": platform.python_version(),
        "rekindle": __version__,
        "criu": _criu_version(),
    }


def line(machine: dict[str, Any]) -> str:
    """The machine in one line of text."""
    gib = machine.get("memory_bytes", 0) / 2**30
    parts = [
        f"{machine.get('cores', '?')} cores {machine.get('cpu', '')}".strip(),
        f"{gib:.0f} GiB",
        f"Linux {machine.get('kernel', '?')}",
        f"Python {machine.get('python', '?')}",
    ]
    if machine.get("criu"):
        parts.append(f"CRIU {machine['criu']}")
    return ", ".join(parts)


def _criu_version() -> str:
    """Empty where there is none that works: restores report it themselves."""
    try:
        return criu.find().version
    except CriuNotFoundError:
        return ""


def _cpu_model() -> str:
    for text in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.processor() or "unknown"  # arm64 kernels name no model


def _os_name() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:  # a machine without /etc/os-release
        return "unknown"
    return release.get("PRETTY_NAME", "unknown")
