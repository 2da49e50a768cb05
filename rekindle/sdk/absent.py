"""What objects of the SDK say of attributes that programs for Modal know.

Standard library only.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rekindle.exception import (
    UnknownNameError,
    is_import,
    of_the_program,
    why_not_imported,
)
from rekindle.sdk import unsupported
from rekindle.sdk.user_frames import trimmed, trims


def missing_of_package(name: str, names: Sequence[str]) -> AttributeError | ImportError:
    """For ``rekindle.name``, whose own names are ``names``; to be asked by what the program's code
    asks. An ImportError for ``from rekindle import name``."""
    return _missing_of_module("rekindle", name, unsupported.attribute(name), names)


def missing_module(name: str) -> ModuleNotFoundError | None:
    """For ``import rekindle.name``; None of a module that means nothing."""
    text = unsupported.attribute(name.removeprefix("rekindle."))
    return of_the_program(ModuleNotFoundError(text, name=name)) if text else None


def missing_of_gpu(name: str, names: Sequence[str]) -> AttributeError | ImportError:
    """The same, for ``rekindle.gpu.name``."""
    return _missing_of_module("rekindle.gpu", name, unsupported.gpu(name), names)


def _missing_of_module(
    module: str, name: str, text: str | None, names: Sequence[str]
) -> AttributeError | ImportError:
    error: AttributeError | ImportError
    if is_import(sys._getframe(3)):
        text = why_not_imported(module, name, text or "", names)
        return of_the_program(ImportError(text))
    if text:
        error = UnknownNameError(text)
    else:
        error = AttributeError(f"module {module!r} has no attribute {name!r}")
    error.name, error.obj = name, sys.modules[module]
    return of_the_program(error)


def _missing(kind: str, name: str, owner: object) -> AttributeError:
    error: AttributeError
    if text := unsupported.member(kind, name):
        error = UnknownNameError(text)
    else:
        what = f"type object {kind!r}" if isinstance(owner, type) else f"{kind!r} object"
        error = AttributeError(f"{what} has no attribute {name!r}")
    error.name, error.obj = name, owner
    return of_the_program(error)


class _ClassSaysWhatToUse(type):
    """Of the class itself: ``Function.lookup``."""

    if not TYPE_CHECKING:

        @trimmed
        def __getattr__(cls, name: str) -> object:
            raise _missing(cls.__name__, name, cls)


@trims
class SaysWhatToUse(metaclass=_ClassSaysWhatToUse):
    """Mixed into a class: its missing attributes say what to use in their place."""

    __slots__ = ()

    if not TYPE_CHECKING:  # a type checker is to know that they are missing

        def __getattr__(self, name: str) -> object:
            raise _missing(type(self).__name__, name, self)
