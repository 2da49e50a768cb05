"""In an image: what rekindle's client needs, and the image may lack, is named where it is missed.

Calls to other functions go by gRPC, which is no part of what runs beside user code. Standard
library only.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

_NEEDED = ("grpc", "google")
_REQUIREMENTS = "'grpcio>=1.71,<2', 'protobuf>=5.29,<6'"


class LackingFinder:
    """The last to be asked for a module: nobody else has found it."""

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> None:
        """Raises ModuleNotFoundError where it is rekindle that asks; user code may do without."""
        if name in _NEEDED and _asks_for_us(sys._getframe(1)):
            raise ModuleNotFoundError(
                f"the image of this function has no {name}, which calls of other functions and "
                f"what else is asked of the controller go by: add .pip_install({_REQUIREMENTS})",
                name=name,
            )


def _asks_for_us(frame: FrameType | None) -> bool:
    """Whether the first frame outside of the import system is one of rekindle's modules."""
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith(("importlib", "_frozen_importlib")):
            return str(name).startswith("rekindle.")
        frame = frame.f_back
    return False


def explain() -> None:
    """Before user code, in an image."""
    sys.meta_path.append(LackingFinder())
