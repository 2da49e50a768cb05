"""A finding of ``rekindle doctor``: one check of the machine. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: A program that is run for a check is given so long.
PROBE_TIMEOUT_S = 30.0


class Status(StrEnum):
    """OK; WARN: something is limited; FAIL: restores, or rekindle as a whole, cannot work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """One finding. ``remedy`` says what to do; empty when nothing is to be done."""

    name: str
    status: Status
    detail: str
    remedy: str = ""
