"""What a decorator makes of a declaration: the base of Function and Cls. Standard library only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from rekindle.exception import InvalidError
from rekindle.execution.declared import Decorated
from rekindle.sdk import checks
from rekindle.sdk.absent import SaysWhatToUse
from rekindle.sdk.declaration import Declaration
from rekindle.sdk.dual import dual_of_itself
from rekindle.sdk.user_frames import trims

if TYPE_CHECKING:
    from rekindle.sdk.calls.callers import Caller


@trims
class Declared(SaysWhatToUse, Decorated):
    """What a decorator makes of a declaration: the base of Function and Cls."""

    def __init__(self, declaration: Declaration) -> None:
        if not isinstance(declaration, Declaration):
            kind = "function" if type(self).__name__ == "Function" else "cls"
            raise InvalidError(
                f"rekindle.{type(self).__name__}(...) makes none: write @app.{kind}() above your "
                f"own, or {type(self).__name__}.from_name(app, name) for one of a deployed app"
            )
        self._declaration = declaration

    @property
    def undecorated(self) -> Any:
        """The function or class of the user; None where only a handle to it is here."""
        return self._declaration.raw

    @property
    def name(self) -> str:
        """``f``, or the name of the class."""
        return self._declaration.name

    @property
    def __name__(self) -> str:
        return self._declaration.name

    @property
    def object_id(self) -> str:
        """The function id. Raises ExecutionError where its app is not running."""
        return self._declaration.resolve()[1]

    @dual_of_itself
    async def hydrate(self, caller: Caller, client: None = None) -> Self:
        """``hydrate()``: look it up now, and not with its first call; itself.

        Raises NotFoundError, and ExecutionError where its app is not running.
        """
        checks.of_this_instance("hydrate", client=client)
        await caller.in_thread(self._declaration.resolve)
        return self

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"<rekindle.{kind} {self.name} of app {self._declaration.app_name!r}>"
