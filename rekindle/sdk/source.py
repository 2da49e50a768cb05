"""The source bundle: local modules as a zip, named by its content.

In it: every top-level package or module that is loaded from outside the standard library and
site-packages, and the modules next to the script. The node unpacks it and puts it first on
``sys.path``, so that what runs is what the program saw.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import site
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rekindle.exception import RequestSizeError
from rekindle.sdk import byvalue
from rekindle.sdk.byvalue import is_by_value

log = logging.getLogger(__name__)

MAX_FILES = 2_000
MAX_BYTES = 32 * 1024 * 1024
_SKIPPED_DIRS = frozenset({"__pycache__", "node_modules", "venv"})
#: A fixed date: the bundle's bytes depend on its content alone.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Bundle:
    """A zip and the digest of what is in it."""

    digest: str
    data: bytes
    files: tuple[str, ...]


def collect(script: Path | None) -> Bundle | None:
    """The bundle of this program; None where it has no local modules.

    ``script`` is the file that the program started from. Raises RequestSizeError when loaded
    modules are over the limits; modules that merely lie next to the script are left out then.
    """
    loaded: dict[str, Path] = {}
    for unit in sorted(_loaded_units()):
        loaded.update(_tree(Path(unit[1]), unit[0]))
    _check_size(loaded)
    found = dict(loaded)
    for neighbour in _neighbours(script):
        files = {name: path for name, path in neighbour.items() if name not in found}
        if _fits(found | files):
            found |= files
        else:
            log.warning(
                "modules next to the script are over the limits of a source bundle and are not "
                "shipped: %s, ...; import them at the top of the script if it needs them",
                next(iter(files)),
            )
    return _zip(found) if found else None


def script_file() -> Path | None:
    """The file that this program was started from; None at a prompt."""
    file = byvalue.script_file()
    return Path(file).absolute() if file else None


# ---- what is local -----------------------------------------------------------------------------


@cache
def _foreign_dirs() -> tuple[str, ...]:
    """Directories whose modules the node has by itself."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    dirs = {sysconfig.get_path(name) for name in names}
    dirs |= {*site.getsitepackages(), site.getusersitepackages()}
    dirs.add(str(Path(__file__).parent.parent))  # rekindle itself
    both = {os.path.realpath(d) for d in dirs} | {os.path.abspath(d) for d in dirs}
    return tuple(sorted(d.rstrip(os.sep) + os.sep for d in both))


def is_local_file(file: str) -> bool:
    """Whether a module's file is the user's own: not the standard library's, not installed."""
    path = os.path.abspath(file)
    foreign = _foreign_dirs()
    return (
        not path.startswith(foreign)
        and not os.path.realpath(path).startswith(foreign)
        and f"{os.sep}site-packages{os.sep}" not in path
        and f"{os.sep}dist-packages{os.sep}" not in path
    )


def _loaded_units() -> Iterator[tuple[str, str]]:
    """(place in the bundle, file or directory) of each local package or module."""
    for name, module in list(sys.modules.items()):
        if "." not in name and name not in sys.builtin_module_names:
            yield from _units(name, module)


def _units(name: str, module: Any) -> Iterator[tuple[str, str]]:
    if name == "__main__" or is_by_value(name):
        return
    file = getattr(module, "__file__", None)
    place = name.replace(".", "/")
    if isinstance(file, str):
        if is_local_file(file) and os.path.exists(file):
            if os.path.basename(file).startswith("__init__."):
                yield place, os.path.dirname(os.path.abspath(file))
            elif file.endswith(".py"):
                yield f"{place}.py", os.path.abspath(file)
        return
    if getattr(module, "__path__", None) is None:
        return
    # A namespace package has no place of its own: what is loaded of it travels.
    depth = name.count(".") + 1
    for child, loaded in list(sys.modules.items()):
        if child.startswith(f"{name}.") and child.count(".") == depth:
            yield from _units(child, loaded)


def _neighbours(script: Path | None) -> Iterator[dict[str, Path]]:
    """Modules and packages next to the script, smallest first, each as its files."""
    if script is None or not script.is_file() or not is_local_file(str(script)):
        return
    units = []
    for entry in sorted(script.parent.iterdir()):
        if entry == script or entry.name.startswith(".") or entry.name in _SKIPPED_DIRS:
            continue
        if entry.stem in sys.stdlib_module_names:
            continue  # first on sys.path, it would hide the standard library's from everybody
        is_package = entry.is_dir() and (entry / "__init__.py").is_file()
        if is_package or (entry.suffix == ".py" and entry.is_file()):
            units.append(_tree(entry, entry.name))
    yield from sorted(units, key=len)


def _tree(root: Path, place: str) -> dict[str, Path]:
    """Place in the bundle -> file, for a file or all files of a directory."""
    if root.is_file():
        return {place: root}
    found: dict[str, Path] = {}
    for directory, dirs, files in os.walk(root):
        dirs[:] = sorted(d for d in dirs if d not in _SKIPPED_DIRS and not d.startswith("."))
        relative = os.path.relpath(directory, root)
        prefix = place if relative == "." else f"{place}/{relative.replace(os.sep, '/')}"
        for file in sorted(files):
            path = Path(directory, file)
            if not file.startswith(".") and not file.endswith(".pyc") and path.is_file():
                found[f"{prefix}/{file}"] = path
        if len(found) > 2 * MAX_FILES:
            break  # over the limit already
    return found


# ---- limits and the zip ------------------------------------------------------------------------


def _fits(files: dict[str, Path]) -> bool:
    return len(files) <= MAX_FILES and sum(p.stat().st_size for p in files.values()) <= MAX_BYTES


def _check_size(files: dict[str, Path]) -> None:
    if _fits(files):
        return
    sizes: dict[str, tuple[int, int]] = {}
    for name, path in files.items():
        count, size = sizes.get(name.split("/")[0], (0, 0))
        sizes[name.split("/")[0]] = (count + 1, size + path.stat().st_size)
    largest = max(sizes, key=lambda name: (sizes[name][1], sizes[name][0]))
    count, size = sizes[largest]
    raise RequestSizeError(
        f"the local modules of this program are over the limit of {MAX_FILES} files and "
        f"{MAX_BYTES >> 20} MiB; the largest is {largest} with {count} files and "
        f"{size / (1 << 20):.1f} MiB. Install it as a package, or keep its data elsewhere, or "
        f"declare the app with include_source=False where the node has the modules"
    )


def _zip(files: dict[str, Path]) -> Bundle:
    digest = hashlib.sha256()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(files):
            content = files[name].read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
            archive.writestr(zipfile.ZipInfo(name, _DATE), content, zipfile.ZIP_DEFLATED)
    return Bundle(digest.hexdigest()[:32], buffer.getvalue(), tuple(sorted(files)))
