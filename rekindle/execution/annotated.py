"""What user code is annotated with, also where it names what is not there.

From Python 3.14 on annotations are evaluated when somebody asks for them, and what is imported
under ``if TYPE_CHECKING:`` alone is a NameError then: all that can do without it ask here. Standard
library only.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

#: How 3.14 is asked: names that are not there stand for themselves.
_names: dict[str, Any] = {}
_texts: dict[str, Any] = {}
_for_signature: dict[str, Any] = {}
if sys.version_info >= (3, 14):
    from annotationlib import Format

    _names = {"format": Format.FORWARDREF}
    _texts = {"format": Format.STRING}
    _for_signature = {"annotation_format": Format.FORWARDREF}


def signature(function: Callable[..., Any]) -> inspect.Signature:
    """Raises what ``inspect.signature`` does, but for names that are not there."""
    return inspect.signature(function, **_for_signature)


def of_class(cls: type) -> dict[str, Any]:
    """A class's own, by name: values or texts, as its module has them."""
    return dict(inspect.get_annotations(cls, **_names))


def as_written(value: Any) -> dict[str, Any]:
    """Those of a function, or a class's own, to be compared with another version's: evaluates
    nothing."""
    return dict(inspect.get_annotations(value, **_texts))
