"""What a terminal says of what a program waits for: steps, calls with their queue, bars for maps.

Loaded by ``rekindle run`` and ``deploy`` on a terminal alone; rich, once there is something to say.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from rekindle.cli import screen
from rekindle.counted import counted
from rekindle.exception import Error
from rekindle.sdk import progress
from rekindle.sdk.progress import Wait

if TYPE_CHECKING:
    from rekindle.wire import rekindle_pb2 as pb

#: What takes less is not worth a line, which would only flash.
_AFTER_S = 0.4
#: The controller is asked for the queue so often, once somebody waits for so long.
_ASK_S = 1.0
#: So many lines at most; the oldest things are named.
_MOST = 8


@contextmanager
def on_terminal() -> Iterator[None]:
    """Show within what this process waits for, on standard error, which is a terminal."""
    progress.watched = watch = progress.Watch()
    try:
        with screen.lines_below(Waiting(watch, sys.stderr).lines):
            yield
    finally:
        progress.watched = None


@dataclass(frozen=True)
class Queue:
    """What a function's calls wait for, as the controller last said."""

    queued: int = 0
    delayed: int = 0
    starting: int = 0
    busy: int = 0

    def __str__(self) -> str:
        parts = (
            (self.queued, "queued"),
            (self.delayed, "to be tried again"),
            (self.starting, "runner starting" if self.starting == 1 else "runners starting"),
            (self.busy, "runner at work" if self.busy == 1 else "runners at work"),
        )
        return ", ".join(f"{count:,} {what}" for count, what in parts if count)


def queue_of(report: pb.StatusReply, function_id: str) -> Queue:
    """Of one function, from a report."""
    starting = busy = 0
    for agent in report.agents:
        if not agent.connected:
            continue
        for runner in agent.stats.runners:
            if runner.function_id == function_id:
                starting += runner.state == "starting"
                busy += runner.state in ("busy", "lent")
        starting += sum(p.starting for p in agent.stats.pools if p.function_id == function_id)
    for app in report.apps:
        for one in app.functions:
            if one.function_id == function_id:
                return Queue(one.queued, one.delayed, starting, busy)
    return Queue(starting=starting, busy=busy)


class Waiting:
    """Makes the lines. Its methods are called by the thread that draws them."""

    def __init__(self, watch: progress.Watch, terminal: TextIO) -> None:
        self._watch = watch
        self._terminal = terminal
        self._asked_s = 0.0
        self._asking: Future[pb.StatusReply] | None = None
        self._report: pb.StatusReply | None = None

    def lines(self) -> list[str]:
        """What is to be shown now; nothing where nobody has waited for long."""
        now = time.monotonic()
        waits = [wait for wait in self._watch.now() if now - wait.since_s >= _AFTER_S]
        if not waits:
            return []
        self._ask(now, waits)
        return self._render(waits, now)

    def _ask(self, now: float, waits: list[Wait]) -> None:
        """Ask the controller, and take the answer to the last question; neither waits."""
        asking = self._asking
        if asking is not None:
            if not asking.done():
                return
            self._asking = None
            try:
                self._report = asking.result()
            except (Error, OSError):  # it is away: what it last said may be wrong by now
                self._report = None
        client = next((wait.client for wait in waits if wait.client is not None), None)
        if client is None or now - self._asked_s < _ASK_S:
            return
        from rekindle.sdk.connection.background import background
        from rekindle.wire import rekindle_pb2 as pb

        self._asked_s = now
        request = pb.StatusRequest(without_pools=True)
        self._asking = background().start(
            client.request("Status", request, pb.StatusReply, patience_s=_ASK_S)
        )

    def _render(self, waits: list[Wait], now: float) -> list[str]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        from rekindle.cli.tables import Literal

        console = Literal(
            file=self._terminal,
            force_terminal=True,
            color_system=None if "NO_COLOR" in os.environ else "auto",
        )
        bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[queue]}", style="dim", markup=False),
            console=console,
            auto_refresh=False,
            get_time=lambda: now,
        )
        calls: dict[str, list[Wait]] = {}
        for wait in waits:
            if wait.count is None:
                calls.setdefault(wait.function_id or wait.name, []).append(wait)
                continue
            done, given, complete = wait.count()
            queue = self._queue(wait)
            bars.add_task(
                wait.name,
                total=given if complete else None,
                completed=done,
                queue=queue if complete else f"of {given:,} so far; {queue}",
            )
            bars.tasks[-1].start_time = wait.since_s
        texts = [self._of_calls(group, now) for group in calls.values()]
        with console.capture() as captured:
            if bars.tasks:
                console.print(bars.get_renderable())
            for text in texts[:_MOST]:
                console.print(text, style="dim", no_wrap=True, overflow="ellipsis")
            if len(texts) > _MOST:
                console.print(f"and {counted(len(texts) - _MOST, 'more function')}", style="dim")
        return captured.get().splitlines()

    def _of_calls(self, group: list[Wait], now: float) -> str:
        first = group[0]
        took_s = int(now - first.since_s)
        took = f"{took_s // 60}:{took_s % 60:02}"
        if first.client is None:
            return f"{first.name}, {took}"
        calls = f"{len(group):,} calls of {first.name}" if len(group) > 1 else first.name
        queue = self._queue(first)
        return f"waiting for {calls}, {took}" + (f": {queue}" if queue else "")

    def _queue(self, wait: Wait) -> str:
        return str(queue_of(self._report, wait.function_id)) if self._report is not None else ""
