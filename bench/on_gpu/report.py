"""Figures as they become known: a line of JSON each, on disk before the next is measured."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Options:
    """What a section is to know of how the script was called."""

    quick: bool
    #: No GPU: this machine's memory is the device, to try the script itself.
    stand_in: bool
    #: Where the section may leave files, and finds the bundle's program, if there is one.
    scratch: Path
    #: Seconds that the section has, from ``began`` on.
    seconds: float
    began: float = field(default_factory=time.monotonic)

    def count(self, times: int) -> int:
        """So often, or twice at most where it is only to be tried."""
        return min(times, 2) if self.quick else times

    def has_time_for(self, step_s: float) -> bool:
        """Whether a step that takes so long is over well before the section is stopped."""
        return self.began + self.seconds * 0.95 - time.monotonic() > step_s


class Report:
    """Writes the rows of one section."""

    def __init__(self, path: Path, section: str) -> None:
        self._path = path
        self._section = section

    def row(self, what: str, value: float, unit: str, **more: Any) -> None:
        """One figure; ``more`` is whatever it is to be read with."""
        self._write({"what": what, "value": _short(value), "unit": unit, **more})

    def median(self, what: str, runs: Sequence[float], unit: str, **more: Any) -> float:
        """The median of several runs, which are written with it."""
        middle = statistics.median(runs)
        self.row(what, middle, unit, runs=[_short(run) for run in runs], **more)
        return middle

    def says(self, what: str, text: str, **more: Any) -> None:
        """What is no number."""
        self._write({"what": what, "text": text, **more})

    def missing(self, what: str, why: object) -> None:
        """A figure that there is none of, and why."""
        self._write({"what": what, "not_measured": str(why)})

    def _write(self, row: dict[str, Any]) -> None:
        line = json.dumps({"section": self._section, **row})
        print(line, flush=True)  # first: it is known, also where a disk is full
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            print(f"a figure is not in the file: {error}", file=sys.stderr, flush=True)


def _short(value: float) -> float:
    return float(f"{value:.5g}")
