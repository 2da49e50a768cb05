"""The machine of a benchmark, with the CRIU that its restores are made by."""

from __future__ import annotations

from typing import Any

from rekindle.bench import machine
from rekindle.exception import CriuNotFoundError
from rekindle.snapshot import criu


def describe_machine() -> dict[str, Any]:
    """As ``bench.machine.describe``; ``criu`` is empty where there is none that works."""
    try:
        version = criu.find().version_text
    except CriuNotFoundError:
        version = ""  # restores will say so themselves
    return machine.describe(criu=version)
