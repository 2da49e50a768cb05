"""What a long benchmark does now, as a line that changes (rich). Draws, measures nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from rekindle.bench.table import ms


class Steps:
    """Parts of a benchmark, and the runs in each."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=None)
        self._part = ""

    def part(self, text: str) -> None:
        """A part begins; it stays on the screen."""
        self._part = text
        self._progress.console.print(f"[bold]{text}[/]", highlight=False)
        self._progress.update(self._task, description=text)

    def say(self, text: str) -> None:
        """What is done now, within the part."""
        self._progress.update(self._task, description=f"{self._part}: {text}")
        if not self._progress.console.is_terminal:  # a log file gets a line a step
            self._progress.console.print(f"  {text}", highlight=False)

    def report(self, name: str, took_ms: float | None, reason: str) -> None:
        """A run is over (the ``report`` of ``interleave.measure``)."""
        if took_ms is None:
            self._progress.console.print(f"  [red]{name}: {reason}[/]", highlight=False)
        else:
            self.say(f"{name} {ms(took_ms)} ms")


@contextmanager
def steps(console: Console) -> Iterator[Steps]:
    """A line of progress while it lasts; plain lines where the console is not a terminal."""
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<60}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        yield Steps(progress)
