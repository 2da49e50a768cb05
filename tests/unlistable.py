"""A directory that cannot be listed, also by root."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def make(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """From now on, by whatever call of Python's."""

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def lists(path: Any = ".") -> Any:
            if not isinstance(path, int) and Path(os.fsdecode(path)) == directory:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path)

        return lists

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
