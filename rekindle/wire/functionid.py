"""Names of functions: of what was declared, and of the app. Standard library only."""

from __future__ import annotations

_OF_APP = 8


def of(revision: str, app_id: str) -> str:
    """The id of a function revision within one app."""
    return f"fu-{revision}{_ending(app_id)}"


def is_of_app(function_id: str, app_id: str) -> bool:
    """Whether an id that ``of`` made is of a function of this app."""
    return function_id.endswith(_ending(app_id))


def _ending(app_id: str) -> str:
    return f"-{app_id[-_OF_APP:]}"
