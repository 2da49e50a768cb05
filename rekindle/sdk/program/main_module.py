"""The program that declares an app: the module that it is here, and its name in runners.

A runner imports the program's own module as any other, under its own name, and ``__main__`` is
another name of it there. Standard library only. Knows nothing of apps, bundles or pickles.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.machinery
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from rekindle import paths


class Program(NamedTuple):
    """``name``: of its module in runners, dotted where it is in a package. ``here``: the name of
    the module in this process. ``file`` is absolute and as it was given: links are kept.
    """

    name: str
    file: Path
    here: str = "__main__"

    @property
    def is_main(self) -> bool:
        """Whether it is ``__main__`` here (``python FILE``, ``python -m NAME``)."""
        return self.here == "__main__"


#: Modules that ``rekindle run`` loaded, the newest last.
_loaded: dict[str, Path] = {}


def loaded_script(module: ModuleType, file: Path) -> None:
    """Say that ``module`` is the program: ``rekindle run`` loads it under its own name."""
    _loaded[module.__name__] = file


def current() -> Program | None:
    """The program of this process; None at a prompt, in a notebook and under ``python -c``."""
    if _loaded:
        name, file = next(reversed(_loaded.items()))
        return Program(name, file, name)
    main = sys.modules.get("__main__")
    given = getattr(main, "__file__", None)
    if not isinstance(given, str) or hasattr(sys, "ps1") or hasattr(builtins, "__IPYTHON__"):
        return None
    file = Path(os.path.normpath(os.path.join(paths.working_directory(), given)))
    if not file.is_file():
        return None  # a zip, or a name such as <stdin>
    spec = getattr(main, "__spec__", None)
    # python -m; that of a directory or a zip is named __main__, as that of no other is.
    if isinstance(spec, importlib.machinery.ModuleSpec) and spec.name != "__main__":
        return Program(spec.name, file)
    return Program(own_name(file), file)


def own_name(file: Path) -> str:
    """The name of a script's module: its stem, or one that hides no other module."""
    stem = file.stem
    if stem.isidentifier() and not _is_taken(stem, file):
        return stem
    return "rekindle_script_" + re.sub(r"\W", "_", stem)


def _is_taken(name: str, file: Path) -> bool:
    if name in ("rekindle", "__main__"):  # the latter is the runner's own program
        return True
    if name in sys.stdlib_module_names or name in sys.builtin_module_names:
        return True
    loaded = sys.modules.get(name)
    if loaded is not None:
        return not _is_same(getattr(loaded, "__file__", None), file)
    here = paths.working_directory()
    elsewhere = [p for p in sys.path if os.path.normpath(os.path.join(here, p)) != str(file.parent)]
    try:
        spec = importlib.machinery.PathFinder.find_spec(name, elsewhere)
    except (ImportError, OSError, ValueError):
        return False
    # A directory of that name without __init__.py hides nothing, and is hidden by nothing.
    return spec is not None and spec.origin is not None and not _is_same(spec.origin, file)


def _is_same(path: object, file: Path) -> bool:
    try:
        return isinstance(path, str) and os.path.samefile(path, file)
    except OSError:
        return False


def alias(program: Program) -> None:
    """Let the module of this process be found under the name that it has in runners, too."""
    if program.is_main and program.name not in sys.modules:
        sys.modules[program.name] = sys.modules["__main__"]
        parent, _, child = program.name.rpartition(".")
        if parent in sys.modules and not hasattr(sys.modules[parent], child):
            setattr(sys.modules[parent], child, sys.modules["__main__"])


# ---- what a runner does not run of it ----------------------------------------------------------


class Guarded(NamedTuple):
    """What stands under ``if __name__ == "__main__":``."""

    lines: tuple[range, ...] = ()
    names: frozenset[str] = frozenset()  # functions and classes that are defined there alone


@functools.cache
def guarded(file: Path) -> Guarded:
    """The parts of a script that are not run where it is imported."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return Guarded()
    lines: list[range] = []
    inside: set[str] = set()
    outside: set[str] = set()
    for node in tree.body:
        body = [node]
        if isinstance(node, ast.If) and _asks_for_main(node.test):
            lines.append(range(node.body[0].lineno, (node.body[-1].end_lineno or 0) + 1))
            inside |= _defined(node.body)
            body = list(node.orelse)
        outside |= _defined(body)
    return Guarded(tuple(lines), frozenset(inside - outside))


def _asks_for_main(test: ast.expr) -> bool:
    """``__name__ == "__main__"``, either way round, alone or with other conditions (``and``)."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return any(_asks_for_main(value) for value in test.values)
    if not isinstance(test, ast.Compare) or not isinstance(test.ops[0], ast.Eq):
        return False
    sides = [test.left, *test.comparators]
    return any(isinstance(s, ast.Name) and s.id == "__name__" for s in sides) and any(
        isinstance(s, ast.Constant) and s.value == "__main__" for s in sides
    )


def _defined(body: list[ast.stmt]) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {n.name for statement in body for n in ast.walk(statement) if isinstance(n, kinds)}
