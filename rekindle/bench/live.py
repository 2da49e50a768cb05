"""A progress bar for a measurement (rich). Draws, measures nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rekindle.bench.records import Run
from rekindle.bench.table import ms
from rekindle.wire.phases import Strategy


class Bar:
    """Its methods fit the ``preparing`` and ``progress`` arguments of ``harness.measure``."""

    def __init__(self, progress: Progress, *, interactive: bool) -> None:
        self._progress = progress
        self._interactive = interactive
        self._task = progress.add_task("starting", total=None)

    def preparing(self, strategy: Strategy) -> None:
        """A strategy is being prepared."""
        self._say(f"preparing {strategy.value}")

    def step(
        self, strategy: Strategy, done: int, total: int, run: Run | None, error: str | None
    ) -> None:
        """A run is over."""
        took = f"{ms(run.total_ms)} ms" if run is not None else "error"
        self._progress.update(self._task, completed=done, total=total)
        self._say(f"{strategy.value:<8} {took}", f" ({done} of {total})")

    def _say(self, text: str, place: str = "") -> None:
        self._progress.update(self._task, description=text)
        if not self._interactive:  # a log file gets a line a step in place of a bar
            self._progress.console.print(text + place, highlight=False)


@contextmanager
def bar(console: Console) -> Iterator[Bar]:
    """A progress bar while it lasts; plain lines where the console is not a terminal."""
    interactive = console.is_terminal
    progress = Progress(
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not interactive,
    )
    with progress:
        yield Bar(progress, interactive=interactive)
