"""What an App, Function or FunctionCall says of attributes that programs for Modal know.

Standard library only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rekindle.exception import UnknownNameError
from rekindle.sdk import unsupported


class SaysWhatToUse:
    """Mixed into a class: its missing attributes say what to use in their place."""

    if not TYPE_CHECKING:  # a type checker is to know that they are missing

        def __getattr__(self, name: str) -> object:
            kind = type(self).__name__
            error: AttributeError
            if text := unsupported.member(kind, name):
                error = UnknownNameError(text)
            else:
                error = AttributeError(f"{kind!r} object has no attribute {name!r}")
            error.name, error.obj = name, self
            raise error
