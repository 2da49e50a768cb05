"""What a thing is: how it is made, how a runner looks at it; and a way to the C library."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

#: Makes the thing in a template, given a number of its own there.
Make = Callable[[int], Any]
#: What a runner finds, before it changes it.
Probe = Callable[[Any], Any]


def libc(name: str, *args: Any) -> int:
    """Call a function of the C library that Python 3.11 lacks."""
    result: int = getattr(ctypes.CDLL(None, use_errno=True), name)(*args)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result
