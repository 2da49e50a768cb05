"""``rekindle top``: functions, runners and starts of an instance, live in the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import time
import tty
from collections.abc import Iterator

import click
from rich.live import Live
from rich.text import Text

from rekindle.cli import operator
from rekindle.cli.tables import Literal
from rekindle.cli.top_frame import frame
from rekindle.cli.top_model import Sort
from rekindle.exception import ConnectionError, ServiceError
from rekindle.linux.plain_descriptors import readable
from rekindle.sdk.connection.client import Client
from rekindle.wire import rekindle_pb2 as pb

#: One report may take so long; then the last one stays on the screen, and it is said.
_PATIENCE_S = 2.0
_PLAIN_WIDTH = 120
_HELP = "q quits  s sorts  r reverses"


@click.command()
@click.option(
    "--interval",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.2, 3600),
    help="Seconds between two frames.",
)
@click.option("--once", is_flag=True, help="Print one frame and end.")
@click.option(
    "--sort",
    "order",
    default="calls",
    show_default=True,
    type=click.Choice(["calls", "latency", "queue", "runners", "name"]),
    help="By what functions are ordered.",
)
def top(interval: float, once: bool, order: str) -> None:
    """Watch functions, runners and the last starts of the instance that is up.

    Rates are of the last ten seconds, durations and starts of the last minute. Keys: q quits, s
    sorts by the next column, r turns the order round. Where the output is no terminal, frames are
    printed one after the other.

    \b
    rekindle top
    rekindle top --once --sort queue
    """
    client = operator.connect()
    console = Literal()
    if not console.is_terminal and console.width == 80:
        console.width = _PLAIN_WIDTH
    view = _View(client, console, Sort[order.upper()])
    if once:
        view.print(None)
    elif console.is_terminal and sys.stdin.isatty():
        view.live(interval)
    else:
        view.stream(interval)


class _View:
    def __init__(self, client: Client, console: Literal, sort: Sort) -> None:
        self._client = client
        self._console = console
        self._sort = sort
        self._reverse = False
        self._report: pb.StatusReply | None = None
        self._before: pb.StatusReply | None = None
        self._problem = ""

    def print(self, height: int | None) -> None:
        """One frame, plainly. Raises what kept it from being made."""
        report = operator.report(self._client, pools=False)
        width, before, self._before = self._console.width, self._before, report
        self._console.print(frame(report, width, height, self._sort, before=before), soft_wrap=True)

    def stream(self, interval: float) -> None:
        """Frame after frame, for a pipe."""
        while True:
            began = time.monotonic()
            self.print(None)
            self._console.print()
            sys.stdout.flush()
            time.sleep(max(0.0, interval - (time.monotonic() - began)))

    def live(self, interval: float) -> None:
        """On the whole screen, until q or Ctrl-C."""
        with (
            _keys() as keyboard,
            Live(console=self._console, screen=True, auto_refresh=False) as screen,
        ):
            due = 0.0
            while True:
                now = time.monotonic()
                if now >= due:
                    self._fetch()
                    due = now + interval
                screen.update(self._frame(), refresh=True)
                ready = readable([keyboard], due - time.monotonic())
                if ready and not self._key(os.read(keyboard, 16).decode("latin-1")):
                    return

    def _key(self, key: str) -> bool:
        """Do what a key asks for; False to end. Arrows and the like are several bytes: nothing."""
        if key in ("s", "S"):
            self._sort = self._sort.next()
        elif key in ("r", "R"):
            self._reverse = not self._reverse
        return key not in ("q", "Q", "\x1b", "\x04", "")

    def _fetch(self) -> None:
        try:
            found = operator.report(self._client, _PATIENCE_S, pools=False)
            self._before, self._report = self._report, found
            self._problem = ""
        except (ConnectionError, ServiceError) as error:
            self._problem = str(error)

    def _frame(self) -> Text:
        width, height = self._console.size
        last = Text(self._problem or _HELP, "bold red" if self._problem else "dim")
        last.truncate(width, overflow="ellipsis")
        if self._report is None:
            return last
        shown = frame(
            *(self._report, width, height - 1, self._sort),
            reverse=self._reverse,
            before=self._before,
        )
        blank = Text("\n" * max(0, height - 1 - len(shown.plain.splitlines())))
        return Text.assemble(shown, blank, "\n", last)


@contextlib.contextmanager
def _keys() -> Iterator[int]:
    """Keys as they are pressed, not echoed; the terminal is as before afterwards.

    The descriptor: select does not see what is in Python's own buffer.
    """
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
