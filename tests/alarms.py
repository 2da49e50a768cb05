"""An alarm of the program's own, whose handler raises an ordinary error, as many do."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import pytest


@contextlib.contextmanager
def too_late(patched: pytest.MonkeyPatch, owner: Any, name: str) -> Iterator[None]:
    """In the block the alarm goes off in place of what ``owner`` calls ``name``, and its
    TimeoutError, which is an OSError, is what the block ends with."""

    def late(*_: Any) -> None:
        raise TimeoutError("too late")

    before = signal.signal(signal.SIGALRM, late)
    try:
        with patched.context() as patch, pytest.raises(TimeoutError, match="too late"):
            patch.setattr(owner, name, lambda *_, **__: signal.raise_signal(signal.SIGALRM))
            yield
    finally:
        signal.signal(signal.SIGALRM, before)
