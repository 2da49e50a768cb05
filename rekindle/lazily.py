"""Modules that are loaded when something of them is used first. Standard library only.

For what a short program of many never needs, and what takes longer to load than that program runs.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any


class Lazily(ModuleType):
    """Stands for a module. Beside it stands its import for the type checker, which knows it so."""

    _loaded: ModuleType | None = None

    def __getattr__(self, name: str) -> Any:
        if self._loaded is None:
            self._loaded = importlib.import_module(self.__name__)
        return getattr(self._loaded, name)


def module(name: str) -> Any:
    """The module of this name, which is not loaded yet."""
    return Lazily(name)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Within, modules are loaded: what that makes stays, so the collector looks at none of it."""
    collects = gc.isenabled()
    try:
        gc.disable()  # in here: a signal's exception may come behind it
        yield
    finally:
        if collects:
            gc.enable()
