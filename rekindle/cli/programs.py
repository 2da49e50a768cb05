"""The user's program, loaded: from a file, from a module (``-m``), or from standard input (``-``).

Knows nothing of what is declared in it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from rekindle import paths
from rekindle.exception import InvalidError, NotFoundError
from rekindle.sdk.checks import nearest
from rekindle.sdk.program import main_module

#: The reference of a program that comes on standard input.
STDIN = "-"
_DEVICE = "/dev/stdin"  # the same
#: How long programs of standard input are kept; another one may still run from its file.
_KEPT_S = 24 * 3600.0


class Loaded(NamedTuple):
    """A program as a module of this process. ``where``: what a user calls it; ``name``: what
    stood behind the two colons.
    """

    module: ModuleType
    where: str
    name: str


def load(reference: str, *, is_module: bool = False) -> Loaded:
    """Load what ``FILE[::NAME]``, ``-m MODULE[::NAME]`` or ``-[::NAME]`` speaks of.

    Raises InvalidError and NotFoundError, and what the program raises.
    """
    where, name = _halves(reference)
    paths.working_directory()  # programs run in it, and runners too
    if is_module:
        return Loaded(_load_module(where), where, name)
    if is_stdin(reference):
        return Loaded(_load_stdin(), STDIN, name)
    file, name = split(reference)
    return Loaded(load_script(file), file.name, name)


def main_of(loaded: Loaded) -> Loaded | None:
    """Of a package that ``-m`` named, its ``__main__``, as Python has it; None without one."""
    name = f"{loaded.module.__name__}.__main__"
    if not hasattr(loaded.module, "__path__") or importlib.util.find_spec(name) is None:
        return None
    return Loaded(_load_module(name), loaded.where, loaded.name)


def is_stdin(reference: str) -> bool:
    """Whether a reference is of standard input."""
    return _halves(reference)[0] in (STDIN, _DEVICE)


def _halves(reference: str) -> tuple[str, str]:
    where, _, name = reference.partition("::")
    return where, name


def split(reference: str) -> tuple[Path, str]:
    """File and name of a reference. Raises InvalidError for other forms."""
    file, name = _halves(reference)
    if "::" not in reference and ":" in reference and not os.path.exists(reference):
        before, _, after = reference.partition(":")
        raise InvalidError(f"{reference!r}: write two colons, {before}::{after}")
    if not file.strip("."):
        raise InvalidError(f"{reference!r} names no file: write FILE.py or FILE.py::NAME")
    path = Path(file)
    try:
        is_file = path.is_file()
    except OSError as error:  # its name is too long, or this user may not look there
        raise NotFoundError(f"there is no file {file} to be read: {error.strerror}") from None
    if not is_file:
        hint = f"; {file} is a package: -m {path.name}" if _is_package(path) else ""
        dotted = Path(*file.split(".")).with_suffix(".py")
        if not file.endswith(".py") and os.path.isfile(dotted):
            hint = f"; did you mean {dotted}, or -m {file}?"
        elif not hint and path.parent.is_dir():
            folder = file.removesuffix(path.name)
            hint = nearest(path.name, (p.name for p in path.parent.glob("*.py")), before=folder)
        raise NotFoundError(f"there is no file {file}{hint}")
    if path.suffix != ".py":
        raise InvalidError(f"{file} is not a Python file (.py)")
    return path.absolute(), name


def _is_package(path: Path) -> bool:
    return os.path.isfile(path / "__init__.py") and not (path.parent / "__init__.py").is_file()


# ---- a file --------------------------------------------------------------------------------------


def load_script(file: Path, *, neighbours: Path | None = None) -> ModuleType:
    """Import the file as the module that it is in runners, too. Raises what its code raises.

    It can import what lies beside it, or in ``neighbours``.
    """
    name = main_module.own_name(file)
    if name in sys.modules:
        name = f"rekindle_script_{name}"  # loaded before
    # Links are followed for the directory alone, as Python does it: __file__ is as given.
    beside = file.resolve().parent if neighbours is None else neighbours
    _make_neighbours_importable(beside, first=name == file.stem)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    main_module.loaded_script(module, file)
    spec._initializing = True  # type: ignore[attr-defined]  # app.run() refuses to run meanwhile
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        _name_package(error, file)
        raise
    finally:
        spec._initializing = False  # type: ignore[attr-defined]
    return module


def _name_package(error: ImportError, file: Path) -> None:
    """Where a file of a package cannot import what belongs to that, say how it is named."""
    packages: list[str] = []
    for directory in file.parents:
        if not (directory / "__init__.py").is_file():
            break
        packages.insert(0, directory.name)
    relative = "relative import" in str(error) and error.name is None
    if packages and (relative or (error.name or "").partition(".")[0] == packages[0]):
        root = file.parents[len(packages)]
        where = "" if root == Path.cwd() else f" in {root}"
        error.add_note(
            f"{file.name} belongs to the package {packages[0]}: name it as a module of that, "
            f"-m {'.'.join([*packages, file.stem])}{where}"
        )


def _make_neighbours_importable(directory: Path, *, first: bool) -> None:
    """Before installed packages, as Python does, but behind the standard library.

    Not ``first`` where the script has the name of what is installed: it is not to hide that.
    """
    if str(directory) in sys.path:
        return
    if not first:
        sys.path.append(str(directory))
        return
    for i, entry in enumerate(sys.path):
        if "site-packages" in entry or "dist-packages" in entry:
            sys.path.insert(i, str(directory))
            return
    sys.path.append(str(directory))


# ---- a module, standard input --------------------------------------------------------------------


def _load_module(name: str) -> ModuleType:
    """Import it as Python does with ``-m``: from the working directory, too."""
    if name.endswith(".py") or os.sep in name:
        raise InvalidError(f"-m {name}: write a module, as in package.module; a file needs no -m")
    if ":" in name:
        raise InvalidError(f"-m {name}: write two colons, {name.replace(':', '::', 1)}")
    if not all(part.isidentifier() for part in name.split(".")):
        raise InvalidError(f"-m {name!r} is no module: write one as in package.module")
    here = paths.working_directory()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        raise NotFoundError(f"there is no module {error.name!r} (looked in {here} too)") from None
    if module.__file__:
        main_module.loaded_script(module, Path(module.__file__).absolute())
    return module


def _load_stdin() -> ModuleType:
    """Load what comes on standard input; it can import what is in the working directory.

    Its file lies where the same text is found again: a snapshot belongs to a path, too.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise InvalidError("-: a program is read from standard input, which is a terminal here")
    import hashlib

    from rekindle import paths

    try:
        text = sys.stdin.buffer.read()
    except OSError as error:
        raise InvalidError(f"-: standard input cannot be read: {error.strerror}") from None
    kept = paths.home() / "stdin"
    file = kept / hashlib.sha256(text).hexdigest()[:16] / "stdin.py"
    with paths.at_home():
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{os.getpid()}")
        draft.write_bytes(text)
        draft.replace(file)
        _forget_older(kept)
    return load_script(file, neighbours=Path.cwd())


def _forget_older(kept: Path) -> None:
    """Remove programs that have had their time, and what Python compiled of them."""
    import shutil
    import time

    for other in kept.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another command has just removed it
            if other.stat().st_mtime < time.time() - _KEPT_S:
                shutil.rmtree(other, ignore_errors=True)  # what it leaves, the next one finds
