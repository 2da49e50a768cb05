"""A declaration: one function or class of an app, and the way from it to a function id.

In the program that declares it, it holds the user's code. Pickled, it is a handle: names and, for
code that travels with another function's code, the user's function too, so that ``.local`` works.
Standard library only: templates unpickle handles.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rekindle.exception import ConnectionError, ExecutionError
from rekindle.execution.context import is_local

if TYPE_CHECKING:
    from rekindle.sdk.app import App
    from rekindle.sdk.connection.client import Client
    from rekindle.sdk.options import Options
    from rekindle.sdk.running import RunningApp

#: The app whose code is being pickled, if any: its handles then carry code and no ids.
packing: ContextVar[App | None] = ContextVar("rekindle_packing", default=None)


@dataclass(eq=False)
class Declaration:
    """One function or class of an app, as declared or as a handle to it."""

    app_name: str
    name: str
    kind: str  # "function" | "cls"
    methods: dict[str, str] = field(default_factory=dict)  # public name -> attribute, of a cls
    raw: Any = None  # the user's function or class; None in a handle without code
    options: Options | None = None
    app: App | None = None
    function_id: str = ""  # of a handle that was pickled while its app ran
    instance: str = ""  # the instance directory that knows the id

    def __reduce__(self) -> tuple[Any, ...]:
        same_app = self.app is not None and packing.get() is self.app
        if same_app:
            from rekindle.sdk.program.payload import portable

            return _handle, (self.app_name, self.name, self.kind, self.methods), portable(self)
        function_id, instance = self.function_id, self.instance
        running = self._running()
        if running is not None:
            function_id = running.function_id(self.name)
            instance = str(running.client.instance)
        elif not function_id and not is_local():
            client, function_id, _ = self.resolve()
            instance = str(client.instance)
        return _handle, (
            self.app_name,
            self.name,
            self.kind,
            self.methods,
            function_id,
            instance,
        )

    def __setstate__(self, raw: Any) -> None:
        self.raw = raw

    def _running(self) -> RunningApp | None:
        return self.app.running if self.app is not None else None

    def resolve(self) -> tuple[Client, str, RunningApp | None]:
        """The client and the id to call it by. Raises ExecutionError where its app is not run."""
        running = self._running()
        if running is not None:
            return running.client, running.function_id(self.name), running
        if self.function_id:
            return _client(self.instance), self.function_id, None
        app_id = os.environ.get("REKINDLE_APP_ID", "")
        if not is_local() and app_id:
            return _client(""), _lookup(app_id, self.name), None
        raise ExecutionError(
            f"{self.name} cannot be called remotely: its app {self.app_name!r} is not running. "
            f"Call it inside `with app.run():`, or start the program with `rekindle run`; "
            f"`{self.name}.local(...)` calls it in this process"
        )

    def __repr__(self) -> str:
        return f"{self.app_name}/{self.name}" if self.app_name else self.name


def _handle(
    app_name: str,
    name: str,
    kind: str,
    methods: dict[str, str],
    function_id: str = "",
    instance: str = "",
) -> Declaration:
    return Declaration(app_name, name, kind, methods, function_id=function_id, instance=instance)


_looked_up: dict[tuple[str, str], str] = {}


def _lookup(app_id: str, name: str) -> str:
    key = (app_id, name)
    if key not in _looked_up:
        from rekindle.sdk.connection.background import background

        _looked_up[key] = background().run(_client("").lookup(app_id, name))
    return _looked_up[key]


def _client(instance: str) -> Client:
    """The client of an instance directory, or of this process's own."""
    from rekindle.sdk.connection.client import client_for

    return client_for(Path(instance) if instance else default_instance())


def default_instance() -> Path:
    """The instance that this process talks to when nothing names one.

    ``$REKINDLE_DIR``, else that of the app that is running, else what ``rekindle up`` started.
    Raises ConnectionError where there is none.
    """
    from rekindle import paths

    named = os.environ.get("REKINDLE_DIR")
    if named:
        return Path(named)
    from rekindle.sdk import running

    active = running.active()
    if active is not None:
        return active.client.instance
    if paths.token_file(paths.daemon_dir()).exists():
        return paths.daemon_dir()
    raise ConnectionError(
        "no rekindle instance is known to this process: start one with `rekindle up`, "
        "set REKINDLE_DIR to its directory, or work inside `with app.run():`"
    )
