"""What starts and levels cost where nothing was measured of the function itself.

The defaults are medians that bench/restore.py measured for a model of 1 GB on a machine with two
cores (bench/results/restore.md), the start alone, without a call's way there and back. The first
runner that reads all of a 2 GB model added 44 MB to it, so that is what a runner adds here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rekindle.exception import InvalidError
from rekindle.wire.pools import Figures, Level

_MB = 1_000_000

#: Where the defaults come from, as the output says it.
SOURCE = "measured, bench/results/restore.md: a model of 1 GB"

FORK_S, RESTORE_S, COLD_S = 0.00744, 0.0159, 3.364
#: CPU time of a fork, of a restore: "starts at once" there. A cold start computes all the while.
FORK_CPU_S, RESTORE_CPU_S = 0.013, 0.0285
#: A spare of that model: `rekindle pool ls` on a machine with other work showed 1.9 MB, and 2.45 ms
#: from the order until it is ready. It computes all the while, at most.
SPARE_S, SPARE_CPU_S, SPARE_BYTES = 0.00245, 0.00245, 1_900_000
#: A snapshot whose pages are not in the page cache: "page cache dropped, with it" took 266 ms more
#: for a working set of 263 MB.
DISK_S_PER_BYTE = 0.266 / (263 * _MB)
RUNNER_BYTES = 44 * _MB
MODEL_BYTES, SNAPSHOT_BYTES = 1_000 * _MB, 1_152 * _MB


def levels(
    *,
    snapshot_bytes: int = SNAPSHOT_BYTES,
    working_set_bytes: int | None = None,
    cold_s: float = COLD_S,
    runner_bytes: int = RUNNER_BYTES,
) -> dict[Level, Figures]:
    """The levels of a function with that much memory in its snapshot, that boots in ``cold_s``.

    The working set, what a restore from disk reads before it answers, is a quarter by default.
    """
    read = snapshot_bytes // 4 if working_set_bytes is None else working_set_bytes
    disk = snapshot_bytes
    return {
        Level.WARM: Figures(start_s=0.0, memory_bytes=runner_bytes),
        Level.SPARE: Figures(
            start_s=SPARE_S, memory_bytes=min(SPARE_BYTES, runner_bytes), cpu_s=SPARE_CPU_S
        ),
        Level.MAPPED: Figures(
            start_s=FORK_S,
            memory_bytes=snapshot_bytes + runner_bytes,
            disk_bytes=disk,
            cpu_s=FORK_CPU_S,
        ),
        Level.CACHED: Figures(
            start_s=RESTORE_S, memory_bytes=snapshot_bytes, disk_bytes=disk, cpu_s=RESTORE_CPU_S
        ),
        Level.DISK: Figures(
            start_s=RESTORE_S + read * DISK_S_PER_BYTE, disk_bytes=disk, cpu_s=RESTORE_CPU_S
        ),
        Level.NONE: Figures(start_s=cold_s, cpu_s=cold_s),
    }


def parse_levels(raw: Any, where: str) -> dict[Level, Figures]:
    """``{"warm": {"start_ms": 0, "memory_mib": 44}, ...}``; InvalidError says what is wrong.

    Keys of a level: start_ms (or start_s), memory_mib (memory_bytes), disk_mib (disk_bytes), cpu_ms
    (cpu_s), gpus.
    """
    if not isinstance(raw, Mapping) or not raw:
        raise InvalidError(f"{where}: expected an object of levels, {_names()}")
    found = {}
    for name, given in raw.items():
        try:
            level = Level(name)
        except ValueError:
            raise InvalidError(f"{where}: no level {name!r}; there are {_names()}") from None
        if not isinstance(given, Mapping):
            raise InvalidError(f"{where}: level {name!r} is an object, such as {{'start_ms': 20}}")
        found[level] = _figures(given, f"{where}: level {name!r}")
    for level in (Level.WARM, Level.NONE):
        if level not in found:
            raise InvalidError(f"{where}: level {level.value!r} is missing")
    return found


_FIELDS = {
    "start_ms": ("start_s", 1e-3),
    "start_s": ("start_s", 1.0),
    "memory_mib": ("memory_bytes", 2.0**20),
    "memory_bytes": ("memory_bytes", 1.0),
    "disk_mib": ("disk_bytes", 2.0**20),
    "disk_bytes": ("disk_bytes", 1.0),
    "cpu_ms": ("cpu_s", 1e-3),
    "cpu_s": ("cpu_s", 1.0),
    "gpus": ("gpus", 1.0),
}


def _figures(given: Mapping[str, Any], where: str) -> Figures:
    values: dict[str, Any] = {"start_s": 0.0}
    for key, value in given.items():
        if key not in _FIELDS:
            raise InvalidError(f"{where}: no field {key!r}; there are {', '.join(_FIELDS)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise InvalidError(f"{where}: {key} is {value!r}, not a number of 0 or more")
        name, unit = _FIELDS[key]
        values[name] = int(value * unit) if name.endswith("bytes") else value * unit
    return Figures(**values)


def read_levels(given: str) -> dict[Level, Figures]:
    """Levels from a file, or from JSON itself where ``given`` begins with ``{``."""
    text, where = given, "--costs"
    if not given.lstrip().startswith("{"):
        try:
            text, where = Path(given).read_text(encoding="utf-8"), given
        except OSError as error:
            raise InvalidError(f"cannot read {given}: {error.strerror}") from error
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise InvalidError(f"{where}: not JSON: {error}") from error
    return parse_levels(raw, where)


def levels_to_json(levels: Mapping[Level, Figures]) -> dict[str, dict[str, float]]:
    """The inverse of ``parse_levels``."""
    return {level.value: asdict(figures) for level, figures in levels.items()}


def _names() -> str:
    return ", ".join(level.value for level in Level)
