"""Make ``pycriu`` importable: CRIU's own reader and writer of image files.

It is not on PyPI; ``rekindle setup criu`` unpacks Debian's package of it into the private prefix.
"""

from __future__ import annotations

import importlib
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
    return _location(prefix or criu.default_prefix()) is not None


def images(prefix: Path | None = None) -> ModuleType:
    """The module ``pycriu.images``. Raises CriuNotFoundError, saying what to do.

    Nothing stays on ``sys.path``: the directory that pycriu is in holds an older protobuf, too.
    """
    loaded = sys.modules.get("pycriu.images")
    if loaded is not None:
        return loaded
    site = _location(prefix or criu.default_prefix())
    if site is None:
        raise CriuNotFoundError("pycriu is not on this machine: run `rekindle setup criu`")
    before = list(sys.path)
    sys.path.insert(0, str(site))
    try:
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


def _location(prefix: Path) -> Path | None:
    for site in (prefix / _SITE, Path("/") / _SITE):  # the machine's own, beside its own CRIU
        if (site / "pycriu" / "images" / "__init__.py").exists():
            return site
    return None
