"""What objects of the SDK say of attributes that programs for Modal know.

Standard library only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rekindle.exception import UnknownNameError
from rekindle.sdk import unsupported


def _missing(kind: str, name: str, owner: object) -> AttributeError:
    error: AttributeError
    if text := unsupported.member(kind, name):
        error = UnknownNameError(text)
    else:
        what = f"type object {kind!r}" if isinstance(owner, type) else f"{kind!r} object"
        error = AttributeError(f"{what} has no attribute {name!r}")
    error.name, error.obj = name, owner
    return error


class _ClassSaysWhatToUse(type):
    """Of the class itself: ``Function.lookup``."""

    if not TYPE_CHECKING:

        def __getattr__(cls, name: str) -> object:
            raise _missing(cls.__name__, name, cls)


class SaysWhatToUse(metaclass=_ClassSaysWhatToUse):
    """Mixed into a class: its missing attributes say what to use in their place."""

    __slots__ = ()

    if not TYPE_CHECKING:  # a type checker is to know that they are missing

        def __getattr__(self, name: str) -> object:
            raise _missing(type(self).__name__, name, self)
