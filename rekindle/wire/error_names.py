"""The name by which an error of ours travels. Standard library only."""

from __future__ import annotations

from rekindle import exception


def public_name(error: exception.Error) -> str:
    """That of its type; of a subclass that only one side has, of what is public of it."""
    kinds = type(error).__mro__
    return next(str(it.__name__) for it in kinds if getattr(exception, it.__name__, None) is it)
