"""Threads of rekindle in this process, and whether there are more than there were."""

from __future__ import annotations

import gc
import threading
from collections import Counter

from tests.e2e.harness import wait_until


def ours() -> Counter[str]:
    """How many of each name."""
    names = (thread.name for thread in threading.enumerate())
    return Counter(name for name in names if name.startswith("rekindle"))


def until_no_more_than(before: Counter[str], at: str = "") -> None:
    """Wait until those that have come since ``before`` have ended. Of those that there were, of
    what was done just then or of tests before, some may have ended as well."""

    def ended() -> bool:
        if ours() <= before:
            return True
        gc.collect()  # an iterator may be kept by the traceback of an error
        return ours() <= before

    wait_until(ended, f"threads to end {at}", state=ours)
