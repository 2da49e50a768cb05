"""The user's program as modules of this process: from the source bundle, by their own names.

The program's module is imported once. ``__main__`` is another name of it: what was pickled there
under ``python FILE`` is found here, and ``if __name__ == "__main__":`` does not run. Files have the
names that they have where the program was started. Also notes which other files of the program are
read before a snapshot. Standard library only; knows nothing of apps.
"""

from __future__ import annotations

import _imp
import importlib
import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from types import CodeType, ModuleType
from typing import Any

from rekindle.wire.bundle import MANIFEST, Sent

#: Kept: the code of rekindle's own ``__main__`` still runs when the name is given away.
_own_main = sys.modules.get("__main__")


class SentLoader(importlib.machinery.SourceFileLoader):
    """Loads a module of the bundle under the file name that it has at home."""

    def __init__(self, name: str, file: str, stored: str) -> None:
        super().__init__(name, file)
        self._stored = importlib.machinery.SourceFileLoader(name, stored)

    def get_code(self, fullname: str) -> CodeType | None:
        """Compiled, or from the bundle's own cache."""
        code = self._stored.get_code(fullname)
        if code is not None:
            # As importlib does for a cache that has moved: tracebacks name the file at home.
            _imp._fix_co_filename(code, self.path)  # type: ignore[attr-defined]
        return code

    def get_source(self, fullname: str) -> str | None:
        """What runs here, also when the file at home was edited since, or is not there."""
        return self._stored.get_source(fullname)


class SentFinder:
    """Finds modules of the bundle, before any directory."""

    def __init__(self, root: str) -> None:
        self.root = root
        with open(os.path.join(root, MANIFEST), encoding="utf-8") as file:
            self.sent = {name: Sent(*fields) for name, fields in json.load(file).items()}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The import system's question for a module."""
        sent = self.sent.get(name)
        if sent is None:
            return self._namespace(name, path)
        loader = SentLoader(name, sent.file, os.path.join(self.root, sent.place))
        below = [os.path.dirname(sent.file)] if sent.is_package else None
        return importlib.util.spec_from_file_location(
            name, sent.file, loader=loader, submodule_search_locations=below
        )

    def _namespace(
        self, name: str, path: Sequence[str] | None
    ) -> importlib.machinery.ModuleSpec | None:
        """A package without ``__init__.py`` above a module that was sent."""
        below = {child: sent for child, sent in self.sent.items() if child.startswith(f"{name}.")}
        if not below or importlib.machinery.PathFinder.find_spec(name, path) is not None:
            return None
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        places: dict[str, None] = {}
        for child, sent in below.items():
            directory = sent.file
            for _ in range(child.count(".") - name.count(".") + sent.is_package):
                directory = os.path.dirname(directory)
            places[directory] = None
        spec.submodule_search_locations = list(places)
        return spec

    def invalidate_caches(self) -> None:
        """Nothing is cached."""


class _MainOnDemand(ModuleType):
    """``__main__`` until it is asked for something: then the program is imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(import_program(), name)


_program: tuple[str, str] = ("", "")  # name and file of the program's module
_finder: SentFinder | None = None


def install(bundle: str, first: list[str], last: list[str], name: str, file: str) -> None:
    """Make the program's modules importable; imports none of them yet.

    ``bundle``: its directory, or "". ``first`` and ``last``: additions to ``sys.path``. ``name``
    and ``file``: of the program's own module, or "".
    """
    global _program, _finder
    sys.path[:0] = [path for path in first if path not in sys.path]
    sys.path += [path for path in last if path not in sys.path]
    if bundle:
        _finder = SentFinder(bundle)
        at = sys.meta_path.index(importlib.machinery.PathFinder)
        sys.meta_path.insert(at, _finder)
        # For Python processes that user code starts (multiprocessing's spawn gives them our
        # sys.path): a script whose file name is no module name is found there.
        sys.path.append(bundle)
    if name:
        _program = (name, file)
        sys.modules["__main__"] = _MainOnDemand("__main__")


def import_module(name: str) -> ModuleType:
    """Import a module of the program. Raises what its code raises."""
    return import_program() if name in (_program[0], "__main__") else importlib.import_module(name)


def import_program() -> ModuleType:
    """The program's own module, imported once."""
    name, file = _program
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    parent = name.rpartition(".")[0]
    if parent:
        importlib.import_module(parent)
    spec = _finder.find_spec(name) if _finder is not None else None
    if spec is None:
        loader = importlib.machinery.SourceFileLoader(name, file)
        spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    former = sys.modules.get("__main__")
    sys.modules["__main__"] = sys.modules[name] = module
    spec._initializing = True  # type: ignore[attr-defined]  # as the import system says it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        if former is not None:
            sys.modules["__main__"] = former
        raise
    finally:
        spec._initializing = False  # type: ignore[attr-defined]
    module = sys.modules.setdefault(name, module)
    if parent:
        setattr(sys.modules[parent], name.rpartition(".")[2], module)
    return module


def sent_files() -> set[str]:
    """Files at home that the bundle stands for."""
    return {sent.file for sent in _finder.sent.values()} if _finder is not None else set()


# ---- files that are read on the way ------------------------------------------------------------

_roots: tuple[str, ...] = ()
_read: set[str] = set()
_noting = False


def note_reads(roots: list[str]) -> None:
    """From now on, note files below these directories that are opened to be read."""
    global _roots, _noting
    _roots = tuple(root.rstrip(os.sep) + os.sep for root in roots if root not in ("", os.sep))
    _noting = True
    sys.addaudithook(_note)


def note_on() -> None:
    """Note again: hooks run that are to be in a snapshot."""
    global _noting
    _noting = bool(_roots)


def stop_noting() -> None:
    """The hook itself stays, as Python has no way to take it away; it does nothing any more."""
    global _noting
    _noting = False


def read_files() -> set[str]:
    """What was noted."""
    return _read - sent_files()


def _note(event: str, args: tuple[Any, ...]) -> None:
    if not _noting or event not in ("open", "sqlite3.connect"):
        return
    path = args[0]
    if event == "open" and (args[2] or 0) & os.O_ACCMODE == os.O_WRONLY:
        return
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if isinstance(path, str):
        path = os.path.abspath(path)
        if path.startswith(_roots) and not path.endswith(".pyc"):
            _read.add(path)
