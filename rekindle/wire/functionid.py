"""Names of functions: of what was declared, and of the app. Standard library only."""

from __future__ import annotations

_OF_APP = 8


def of(revision: str, app_id: str) -> str:
    """The id of a function revision within one app."""
    return f"fu-{revision}{ending(app_id)}"


def ending(app_id: str) -> str:
    """What the ids of all functions of an app end with."""
    return f"-{app_id[-_OF_APP:]}"
