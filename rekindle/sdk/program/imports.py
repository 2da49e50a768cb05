"""Which local modules a program uses: by its import statements, and by what is loaded.

Import statements are read wherever they stand, in functions too; nothing is imported for it.
What is installed is not looked into. Standard library only.
"""

from __future__ import annotations

import ast
import importlib.machinery
import os
import site
import sys
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from rekindle.sdk.program import interpreter

_DYNAMIC = frozenset({"import_module", "__import__"})


class LocalModule(NamedTuple):
    """A module of the user's, as source. ``file`` is as the import system names it."""

    name: str
    file: Path

    @property
    def is_package(self) -> bool:
        """Whether other modules can be below it."""
        return self.file.name == "__init__.py"


def local_modules(start: list[LocalModule]) -> dict[str, LocalModule]:
    """By name: ``start``, what these import, what that imports, and what is loaded."""
    return _with_imported([*start, *_loaded()])


def imported_by(name: str) -> dict[str, LocalModule]:
    """By name: the local modules that an import of a module runs; none where it is not local."""
    names = _and_above(name)
    return _with_imported([one for one in map(_find, names) if one is not None])


def is_local(name: str) -> bool:
    """Whether a module, loaded or not, is the user's own."""
    return _find(name) is not None


def _with_imported(waiting: list[LocalModule]) -> dict[str, LocalModule]:
    found: dict[str, LocalModule] = {}
    while waiting:
        module = waiting.pop()
        if module.name in found:
            continue
        found[module.name] = module
        for name in sorted(_imported_names(module)):
            if name not in found:
                waiting += [other for other in (_find(name),) if other is not None]
    return found


# ---- what is local -----------------------------------------------------------------------------


@cache
def foreign_dirs() -> tuple[str, ...]:
    """Directories whose modules the node has by itself, with a separator at the end."""
    dirs = {*interpreter.standard_library(), *site.getsitepackages(), site.getusersitepackages()}
    dirs.add(str(Path(__file__).parents[2]))  # rekindle itself
    both = {os.path.realpath(d) for d in dirs} | {os.path.abspath(d) for d in dirs}
    return tuple(sorted(d.rstrip(os.sep) + os.sep for d in both))


def is_local_file(file: str) -> bool:
    """Whether a module's file is the user's own: not the standard library's, not installed."""
    path = os.path.abspath(file)
    foreign = foreign_dirs()
    if path.startswith(foreign) or os.path.realpath(path).startswith(foreign):
        return False
    if any(f"{os.sep}{d}{os.sep}" in path for d in ("site-packages", "dist-packages")):
        return False
    return not any(_is_environment(parent) or _installed(parent, path) for parent in _above(path))


def _above(path: str) -> Iterator[str]:
    return map(str, Path(os.path.abspath(path)).parents)


@cache
def _is_environment(directory: str) -> bool:
    """Whether it is a virtual environment."""
    return os.path.exists(os.path.join(directory, "pyvenv.cfg"))


def _installed(directory: str, path: str) -> bool:
    """Whether ``pip install --target DIRECTORY`` put ``path`` there."""
    tops = _installed_tops(directory)
    return bool(tops) and os.path.relpath(path, directory).split(os.sep)[0] in tops


@cache
def _installed_tops(directory: str) -> frozenset[str]:
    tops: set[str] = set()
    try:
        with os.scandir(directory) as entries:
            infos = [e.path for e in entries if e.name.endswith(".dist-info")]
        for info in infos:
            with open(os.path.join(info, "RECORD"), encoding="utf-8") as record:
                tops |= {line.split(",")[0].split("/")[0] for line in record}
    except OSError:  # unreadable, or no list of what was installed: nothing is known of it
        pass
    return frozenset(tops)


# ---- finding -----------------------------------------------------------------------------------


def _loaded() -> list[LocalModule]:
    found = []
    for name, module in sorted(sys.modules.copy().items()):
        file = getattr(module, "__file__", None)
        own = getattr(getattr(module, "__spec__", None), "name", name)
        # Not __main__, and not a second name of a module.
        if name == "__main__" or own != name or not isinstance(file, str):
            continue
        if file.endswith(".py") and is_local_file(file) and os.path.isfile(file):
            found.append(LocalModule(name, Path(os.path.abspath(file))))
    return found


def _find(name: str) -> LocalModule | None:
    """A local module by name; None for any other, and for what there is not."""
    if name.split(".")[0] in sys.stdlib_module_names:
        return None
    origin = _origin(name)
    if origin is None or not origin.endswith(".py") or not is_local_file(origin):
        return None
    if any(os.path.isfile(parent) for parent in _above(origin)):
        return None  # in a zip file on sys.path, where runners find it too
    return LocalModule(name, Path(os.path.abspath(origin)))


def _origin(name: str) -> str | None:
    module = sys.modules.get(name)
    if module is not None and name != "__main__":
        file = getattr(module, "__file__", None)
        return file if isinstance(file, str) else None
    spec = _spec(name)
    return spec.origin if spec is not None and spec.has_location else None


@cache
def _spec(name: str) -> importlib.machinery.ModuleSpec | None:
    """Where a module would be found. Nothing is imported, packages above it neither.

    Not by PathFinder: its namespace packages look for the one above them among what is imported.
    """
    parent, _, _ = name.rpartition(".")
    places: Iterable[str] = sys.path
    if parent:
        above = sys.modules.get(parent)
        inner = getattr(above, "__path__", None) if above is not None else None
        if inner is None:
            found = _spec(parent)
            inner = found.submodule_search_locations if found is not None else None
        if inner is None:
            return None
        places = inner
    import pkgutil  # most programs use installed modules alone

    portions: list[str] = []
    for place in list(places):
        try:
            finder = pkgutil.get_importer(place or os.getcwd())
            spec = finder.find_spec(name) if finder is not None else None
        except (ImportError, OSError, ValueError):
            continue
        if spec is None:
            continue
        if spec.loader is not None:
            return spec
        portions += spec.submodule_search_locations or ()
    if not portions:
        return None
    namespace = importlib.machinery.ModuleSpec(name, None, is_package=True)
    namespace.submodule_search_locations = portions
    return namespace


def _imported_names(module: LocalModule) -> frozenset[str]:
    """Names that its import statements may mean; packages above them too."""
    try:
        status = module.file.stat()
        return _read_names(module, status.st_mtime_ns, status.st_size)
    except (OSError, SyntaxError, ValueError):
        # It cannot be sent, or not be imported: where it is tried, that is reported.
        return frozenset()


@lru_cache(maxsize=4096)
def _read_names(module: LocalModule, _mtime_ns: int, _size_bytes: int) -> frozenset[str]:
    """The same, of the file as it was at that time: a program may run an app many times."""
    text = module.file.read_bytes()
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    names: set[str] = {package}
    dynamic = any(call.encode() in text for call in _DYNAMIC)
    for node in (ast.walk if dynamic else _statements)(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node.module or "", node.level, package)
            if base is not None:
                names.add(base)
                names |= {f"{base}.{alias.name}" for alias in node.names if alias.name != "*"}
        elif isinstance(node, ast.Call):
            names |= _named_in_call(node, package)
    return frozenset(one for name in names if name for one in _and_above(name))


def _and_above(name: str) -> list[str]:
    """A module's name and those of the packages above it."""
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts) + 1)]


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All statements, however deep; `ast.walk` would visit every expression, too."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, block, ())


def _named_in_call(node: ast.Call, package: str) -> set[str]:
    """The name in ``importlib.import_module("name")`` and the like."""
    called = (
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    )
    if called not in _DYNAMIC or not node.args or not isinstance(node.args[0], ast.Constant):
        return set()
    name = node.args[0].value
    if not isinstance(name, str):
        return set()
    level = len(name) - len(name.lstrip("."))
    found = absolute(name[level:], level, package)
    return {found} if found else set()


def absolute(name: str, level: int, package: str) -> str | None:
    """The module that an import statement in a package means; None where it cannot be."""
    if level == 0:
        return name
    parts = package.split(".") if package else []
    if level - 1 > len(parts) or not parts:
        return None
    base = ".".join(parts[: len(parts) - level + 1])
    return f"{base}.{name}" if base and name else base or name or None
