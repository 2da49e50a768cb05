"""What runs in this process: its apps, and what is asked of all its calls. Standard library only.

Which instance the process speaks to, whether output is shown, and which strategy calls must take.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rekindle.exception import ExecutionError, InvalidError, NotFoundError

if TYPE_CHECKING:
    from rekindle.sdk.connection.client import Client
    from rekindle.sdk.logs import LogPrinter


class Named(Protocol):
    """A declaration, as far as it has to be known here."""

    name: str


@dataclass(eq=False)
class RunningApp:
    """What ``with app.run():`` made."""

    name: str
    app_id: str
    client: Client
    function_ids: dict[str, str]
    logs: LogPrinter | None = None
    detached: bool = False
    #: Makes one function more known; its id (late_declarations.py).
    add: Callable[[RunningApp, Any], str] | None = None
    #: What it was started with, by name.
    declared: Mapping[str, Named] = field(default_factory=dict)
    #: What was declared since and is not sent yet, by name: the next call of any function sends it,
    #: as that one may call these by their names.
    pending: dict[str, Named] = field(default_factory=dict)
    #: What was declared since, with its ids.
    late_ids: dict[Named, str] = field(default_factory=dict)

    def knows(self, declaration: Named) -> bool:
        """Whether its id is at hand."""
        if self.pending:
            return False
        return self.declared.get(declaration.name) is declaration or declaration in self.late_ids

    def function_id(self, declaration: Named) -> str:
        """The id of a function; what was declared since is sent now, at a prompt.

        Raises NotFoundError for such a function elsewhere.
        """
        for name, one in list(self.pending.items()):
            self._add(one)
            if self.pending.get(name) is one:
                del self.pending[name]
        if self.declared.get(declaration.name) is declaration:
            return self.function_ids[declaration.name]
        if declaration not in self.late_ids:
            self._add(declaration)
        return self.late_ids[declaration]

    def _add(self, declaration: Named) -> None:
        if declaration.name in self.declared and not at_prompt():
            raise NotFoundError(
                f"{declaration.name} was declared again in app {self.name!r}, and this is the "
                f"former one: call the later"
            )
        if self.add is None or not at_prompt():
            raise NotFoundError(
                f"{declaration.name} was added to app {self.name!r} after it started; "
                f"declare it before app.run()"
            )
        self.late_ids[declaration] = self.add(self, declaration)


def at_prompt() -> bool:
    """Whether what a program declares may come, and come again, while its app runs."""
    return hasattr(sys, "ps1") or "IPython" in sys.modules


_stack: list[RunningApp] = []


def started(app: RunningApp) -> None:
    """Note that an app runs."""
    _stack.append(app)


def ended(app: RunningApp) -> None:
    """Note that an app has ended."""
    if app in _stack:
        _stack.remove(app)


# ---- the instance ------------------------------------------------------------------------------


def client_of(instance: str = "") -> Client:
    """The client of an instance directory, or of this process's own. Raises ConnectionError."""
    from rekindle.sdk.connection.client import client_for

    return client_for(Path(instance) if instance else default_instance())


def arrived_from(instance: str) -> str:
    """The instance of a handle that was pickled with this one; "": that of this process.

    It has another path, or none, on another node and in an image.
    """
    return instance if instance and Path(instance).exists() else ""


def innermost_instance() -> Path | None:
    """The instance of the app that was started last and still runs, if any does."""
    return _stack[-1].client.instance if _stack else None


def default_instance() -> Path:
    """The instance that this process talks to when nothing names one.

    ``$REKINDLE_DIR``, else that of the app that was started last and still runs, else what
    ``rekindle up`` started, else one that lingers. Raises ConnectionError where there is none,
    ExecutionError in a process that is no runner yet.
    """
    from rekindle.execution import context
    from rekindle.sdk.local import choosing

    named = os.environ.get(choosing.VARIABLE)
    if not context.is_local():  # a runner's own; it sees no more of it than its sockets
        if not named:
            raise no_runner_yet("An instance cannot be used")
        return Path(named)
    if not named and _stack:
        return _stack[-1].client.instance
    return choosing.existing()


def no_runner_yet(what: str) -> ExecutionError:
    """For what a template was asked to do, whose copies may run anywhere."""
    return ExecutionError(
        f"{what} while a function is imported, or in an @rekindle.enter(snap=True) hook: a "
        f"snapshot belongs to no instance. Do it in the function, or in an @rekindle.enter() hook"
    )


# ---- output ------------------------------------------------------------------------------------

_output = 0


@contextmanager
def enable_output() -> Iterator[None]:
    """Show what functions print, and rekindle's own notes, while apps that start within run.

    Of ``app.deploy()`` within, what it came to. The command line does this by itself; a program
    that calls ``app.run()`` or ``app.deploy()`` is silent without it.
    """
    global _output
    _output += 1
    try:
        yield
    finally:
        _output -= 1


def shows_output() -> bool:
    """Whether an app that starts now shows its output."""
    return _output > 0


# ---- the strategy ------------------------------------------------------------------------------

_strategies: list[str] = []


def asked_strategy() -> str:
    """The strategy that calls must take; empty where the ladder chooses."""
    return _strategies[-1] if _strategies else ""


@contextmanager
def ask_strategy(strategy: str) -> Iterator[None]:
    """Within, every call of this process takes exactly this strategy or fails.

    ``""`` lets the ladder choose. Raises InvalidError for an unknown name.
    """
    check_strategy(strategy)
    before = len(_strategies)
    try:
        _strategies.append(strategy)
        yield
    finally:
        del _strategies[before:]  # it is not there where a signal came before it was


def check_strategy(strategy: str) -> None:
    """Raise InvalidError for a name that no strategy has; ``""`` is none."""
    from rekindle.wire.phases import Strategy

    known = [known.value for known in Strategy]
    if strategy and strategy not in known:
        raise InvalidError(f"unknown strategy {strategy!r}; choose from {', '.join(known)}")
