"""Make ``pycriu`` importable: CRIU's own reader and writer of image files.

It is not on PyPI; ``rekindle setup criu`` unpacks Debian's package of it into the private prefix.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from rekindle.exception import CriuNotFoundError
from rekindle.snapshot import criu

#: Debian's name of the package.
PACKAGE = "python3-pycriu"

_SITE = Path("usr") / "lib" / "python3" / "dist-packages"


def present(prefix: Path | None = None) -> bool:
    """Whether pycriu is there to import, in ``prefix`` or the default one."""
    return location(prefix) is not None


def images(prefix: Path | None = None) -> ModuleType:
    """The module ``pycriu.images``. Raises CriuNotFoundError, saying what to do.

    Its directory never gets on ``sys.path``: an older protobuf may lie there, too, which crashes
    the interpreter when it meets the one that is installed.
    """
    loaded = sys.modules.get("pycriu.images")
    if loaded is not None:
        return loaded
    site = _site(prefix)
    before = list(sys.path)  # pycriu.images appends itself
    try:
        _load("pycriu", site / "pycriu" / "__init__.py")
        return importlib.import_module("pycriu.images")
    except (ImportError, AttributeError, TypeError) as error:
        for name in [name for name in sys.modules if name.partition(".")[0] == "pycriu"]:
            del sys.modules[name]
        raise CriuNotFoundError(
            f"pycriu in {site} cannot be imported ({error}): run `rekindle setup criu --force`, "
            "with protobuf 5 installed"
        ) from error
    finally:
        sys.path[:] = before


@functools.cache
def rpc() -> ModuleType:
    """pycriu's ``rpc_pb2``, without the hundred modules that the package would load.

    Raises CriuNotFoundError.
    """
    path = _site() / "pycriu" / "rpc_pb2.py"
    try:
        return _load("rekindle_criu_rpc_pb2", path)
    except OSError as error:
        raise CriuNotFoundError(
            f"{path} cannot be loaded ({error}): run `rekindle setup criu --force`"
        ) from error


def _load(name: str, path: Path) -> ModuleType:
    """Import a module, or a package by its ``__init__.py``, from a directory not on the path."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _site(prefix: Path | None = None) -> Path:
    site = location(prefix)
    if site is None:
        raise CriuNotFoundError("pycriu is not on this machine: run `rekindle setup criu`")
    return site


def location(prefix: Path | None = None) -> Path | None:
    """The directory that pycriu lies in: of ``prefix``, else the machine's.

    Without ``prefix``: of the one that ``$REKINDLE_CRIU`` names, of the default one.
    """
    chosen = os.environ.get(criu.VARIABLE, "")
    default = [*([Path(chosen)] if os.path.isdir(chosen) else []), criu.default_prefix()]
    for root in ([prefix] if prefix else default) + [Path("/")]:
        site = root / _SITE
        if (site / "pycriu" / "images" / "__init__.py").exists():
            return site
    return None
