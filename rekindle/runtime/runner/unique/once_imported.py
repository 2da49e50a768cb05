"""Does something to a module as soon as it has been imported, without importing it.

A module of the standard library may bring libraries along, whose areas of memory each copy of a
template pays for. Knows nothing of what is done to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class OnceImported:
    """Calls ``then`` with the module ``name``: now where it is there, else once it is.

    Who only asks where the module is, or whose import fails, does not end the wait.
    """

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self._name, self._then = name, then
        self._ended = False
        if (module := sys.modules.get(name)) is not None:
            self._ended = True
            then(module)
        else:
            sys.meta_path.insert(0, self)

    def cancel(self) -> None:
        """Do no more. May be called again."""
        self._ended = True
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """For an import: what the next ones find, with a loader that tells when it has run."""
        # Those before this one were asked already. They are asked directly: importlib would ask
        # this one again, and whoever ends that by a flag misses an import of another thread.
        finders = list(sys.meta_path)
        if name != self._name or self not in finders:
            return None
        for finder in finders[finders.index(self) + 1 :]:
            # importlib, too, passes over what has no such method.
            find_spec = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find_spec and find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self._has_run)  # type: ignore[assignment]
                return spec
        return None

    def _has_run(self, module: ModuleType) -> None:
        if self._ended:  # between finding it and running it
            return
        if sys.modules.get(self._name) is module:  # not a copy that somebody runs for themselves
            self.cancel()
        self._then(module)


class _Loader:
    """Another's, which takes its place before the module is run."""

    def __init__(self, loader: Any, has_run: Callable[[ModuleType], None]) -> None:
        self._loader, self._has_run = loader, has_run

    def __getattr__(self, name: str) -> Any:
        """For who asks more of it: where the module's source is, say."""
        if name == "_loader":  # of a copy that is being made of this
            raise AttributeError(name)
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._has_run(module)
