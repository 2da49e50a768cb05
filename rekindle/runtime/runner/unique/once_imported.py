"""Does something to a module as soon as it has been imported, without importing it.

A module of the standard library may bring libraries along, whose areas of memory each copy of a
template pays for. Knows nothing of what is done to it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class OnceImported:
    """Calls ``then`` with the module ``name``: now where it is there, else once it is."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self._name, self._then = name, then
        if (module := sys.modules.get(name)) is not None:
            then(module)
        else:
            sys.meta_path.insert(0, self)

    def cancel(self) -> None:
        """Do no more. May be called again."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """For an import: what the others find, with a loader that calls ``then``."""
        if name != self._name:
            return None
        self.cancel()
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._then)  # type: ignore[assignment]
        return spec


class _Loader:
    """Another's, which takes its place before the module is run."""

    def __init__(self, loader: Any, then: Callable[[ModuleType], None]) -> None:
        self._loader, self._then = loader, then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._then(module)
