"""``with app.run():``: an instance, the app made known to it, and all taken back at the end.

An event loop and the client are loaded when an instance is on its way: both take their time.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, TypeVar

from rekindle import lazily
from rekindle.exception import InvalidError
from rekindle.execution.context import is_local
from rekindle.sdk import late_declarations, loop_warning, running, user_frames
from rekindle.sdk.block import Block
from rekindle.sdk.holding import Holding
from rekindle.sdk.local import session
from rekindle.sdk.running import RunningApp
from rekindle.sdk.user_frames import trims
from rekindle.wire.callid import new_app_id
from rekindle.wire.environment import in_environment

if TYPE_CHECKING:
    from rekindle.sdk.declaration import AppState
    from rekindle.sdk.terminal.server import TerminalServer

A = TypeVar("A", bound="AppState")


@trims
class AppRun(Block[A]):
    """The context manager, sync and async, that ``app.run()`` gives; its target is the app."""

    def __init__(
        self,
        app: A,
        name: str | None,
        environment: str,
        *,
        detach: bool = False,
        interactive: bool = False,
    ) -> None:
        """Raises InvalidError where it cannot be meant."""
        if detach and interactive:
            raise InvalidError(
                "a run is either interactive or detached: what goes on without its program has no "
                "terminal; leave one of -i (interactive=) and -d (detach=) out"
            )
        self._app = app
        self._detach = detach
        self._interactive = interactive
        self._terminal: TerminalServer | None = None
        self._name = name
        self._environment = environment
        self._session: session.Session | None = None
        self._holding: Holding | None = None
        self._running: RunningApp | None = None
        self._owner = 0
        check_may_run(app)

    @user_frames.trims_itself
    def __enter__(self) -> A:
        begins = False
        try:
            if loop_warning.loop_runs():
                loop_warning.warn_of_with("with app.run():", "async with app.run():")
            check_may_run(self._app)
            self._owner, begins = os.getpid(), True
            self._start()
            return self._app
        except BaseException as error:
            if begins:
                self._take_down()
            user_frames.only(error)
            raise

    @user_frames.trims_itself
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        at_once = True  # interrupted while exit hooks run: they are not waited for
        try:
            try:
                if self._is_ours():
                    self._stop()
                at_once = False
            finally:
                if self._is_ours():
                    self._take_down(at_once=at_once)
        except BaseException as failed:
            user_frames.only(failed)
            raise

    def _is_ours(self) -> bool:
        """A forked child leaves the block, too: the app is its parent's."""
        return os.getpid() == self._owner

    # ---- steps ---------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._interactive:
            from rekindle.sdk.terminal.user_terminal import UserTerminal

            user_terminal = UserTerminal()
        # A private instance comes up while we look at the code.
        if self._detach:
            from rekindle.sdk.local import staying

            self._session = staying.begin()
        else:
            self._session = session.begin()
        with lazily.loading():
            from rekindle.sdk.connection.client import client_for
            from rekindle.sdk.program import main_module, registration

        script = main_module.current()
        name = self._name or self._app.name or (name_from(script.file) if script else "app")
        name = in_environment(self._environment, name)
        app_id = new_app_id()
        wait = functools.cache(self._session.wait)
        declared = dict(self._app.declarations)
        if self._session.serves():  # the controller answers while we look at the code
            self._holding = Holding(client_for(wait()))
            self._holding.greet()
        form = registration.form_of(self._app, name, app_id, script, wait, detached=self._detach)
        instance = wait()
        client = client_for(instance)
        client.alive, client.why_ended = self._session.alive, self._session.why_ended
        made = RunningApp(name, app_id, client, {}, detached=self._detach, declared=declared)
        made.add = late_declarations.add
        if running.shows_output():
            from rekindle.sdk.logs import LogPrinter

            made.logs = LogPrinter(client, app_id)
        if self._holding is None:
            self._holding = Holding(client)
        self._holding.begin(made, form)
        if self._interactive:
            from rekindle.sdk.terminal.server import TerminalServer

            self._terminal = TerminalServer(user_terminal, instance, app_id, made.logs)
            self._terminal.start()
        self._running = made
        self._app.running = made
        running.started(made)

    def _stop(self) -> None:
        self._close_terminal()
        if self._app.running is None or self._holding is None:
            return
        self._end_calls()
        self._holding.close(detach=self._detach)

    def _end_calls(self) -> None:
        made = self._running
        if made is None:
            return
        if self._app.running is made:
            self._app.running = None
        running.ended(made)
        from rekindle.sdk.calls import lease_caches

        lease_caches.give_back_of(made)

    def _close_terminal(self) -> None:
        terminal, self._terminal = self._terminal, None
        if terminal is not None:
            terminal.close()

    def _take_down(self, *, at_once: bool = False) -> None:
        # Ctrl-C may come between any two lines of the above, and in one of these: the others go on.
        with contextlib.ExitStack() as steps:
            steps.callback(self._end_session, at_once)
            steps.callback(self._let_go)
            steps.callback(self._close_terminal)
            self._end_calls()
            self._running = None

    def _let_go(self) -> None:
        if self._holding is not None:
            self._holding.let_go()
            self._holding = None

    def _end_session(self, at_once: bool) -> None:
        ending, self._session = self._session, None
        if ending is not None:
            ending.end(at_once=at_once)


def check_may_run(app: AppState, what: str = "app.run()") -> None:
    """Refuse ``what`` where it cannot be meant. Raises InvalidError."""
    if not is_local():
        raise InvalidError(
            f"{what} was called inside a runner; the app runs already there: call its functions, "
            f'and keep what starts it under `if __name__ == "__main__":`'
        )
    if app.running is not None and what == "app.run()":
        raise InvalidError(
            f"app {app.running.name!r} is running already (`rekindle run` runs it around a local "
            f"entrypoint): call its functions directly, without another app.run()"
        )
    _check_not_at_top(app, what)
    module = _importing_module()
    if module is not None:
        raise InvalidError(
            f"{what} was called while module {module!r} is being imported; "
            f"put it into a function, or under `if __name__ == '__main__':`"
        )


def _check_not_at_top(app: AppState, what: str) -> None:
    """Runners import the program's module: what runs there must not run the app again."""
    from rekindle.sdk.program import main_module

    known = main_module.current()
    if known is None or not known.is_main:
        return
    places = (declaration.place for declaration in app.declarations.values())
    if not any(place is not None and place.module == known.name for place in places):
        return
    lines = [
        line
        for frame, line in _walk(sys._getframe(1))
        if frame.f_globals.get("__name__") == "__main__" and frame.f_code.co_name == "<module>"
    ]
    guarded = main_module.guarded(known.file).lines
    if lines and not any(lines[0] in under_guard for under_guard in guarded):
        raise InvalidError(
            f"{what} is called at the top level of {known.file.name} (line {lines[0]}), "
            f"which runners import: they would do so, too. Put that line under "
            f"`if __name__ == '__main__':`, or into an @app.local_entrypoint() for "
            f"`rekindle run {known.file.name}`"
        )


def _importing_module() -> str | None:
    """The module whose import is under way in this call stack, if any."""
    for frame, _ in _walk(sys._getframe(1)):
        spec = frame.f_globals.get("__spec__")
        if frame.f_code.co_name == "<module>" and getattr(spec, "_initializing", False):
            return str(frame.f_globals.get("__name__"))
    return None


def _walk(frame: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    """The frames of a call stack and their lines; traceback's own is long to load."""
    while frame is not None:
        yield frame, frame.f_lineno
        frame = frame.f_back


def name_from(script: Path) -> str:
    """The name of an app that was given none."""
    kept = [c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in script.stem]
    return "".join(kept).lstrip("-")[:64] or "app"
