"""Forks that warn of threads, as those of Python 3.12 and later do, on any Python."""

from __future__ import annotations

import os
import warnings

import pytest


def make(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on each does, in the parent."""
    fork = os.fork

    def as_of_3_12() -> int:
        pid = fork()
        if pid:
            warnings.warn("fork() may lead to deadlocks", DeprecationWarning, stacklevel=2)
        return pid

    monkeypatch.setattr(os, "fork", as_of_3_12)
