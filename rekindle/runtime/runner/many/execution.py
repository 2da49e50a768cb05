"""An input from its begin to its answer, in whatever thread or task it runs."""

from __future__ import annotations

import contextlib
import threading

from rekindle.execution import context, nesting
from rekindle.forkserver import forking
from rekindle.runtime.runner.many import prints
from rekindle.runtime.runner.many.run import Run
from rekindle.wire.frames import FrameError
from rekindle.wire.page import RunnerPage
from rekindle.wire.phases import now_ns


class Running:
    """Says in the page whether anything runs."""

    def __init__(self, page: RunnerPage) -> None:
        self._page = page
        self._lock = threading.Lock()
        self._count = 0

    def begin(self, run: Run) -> nesting.Beside:
        """In the context that it will run in."""
        run.began_ns = now_ns()
        self._page.begin_slot(run.slot, run.began_ns)
        with self._lock:
            if not self._count:
                self._page.some_run(run.began_ns)
            self._count += 1
        context.current.set((run.input_id, run.call_id))
        prints.current.set(run.prints)
        return nesting.begin_beside(run.depth)

    def end(self, run: Run, nested: nesting.Beside) -> None:
        """Note that an input has ended, and answer it."""
        forking.end_users_child(run.failure)
        run.ended_ns = now_ns()
        nesting.end_beside(nested)
        run.called = nested.called
        with self._lock:
            self._count -= 1
            if not self._count:
                self._page.some_run(0)
        prints.current.set(None)
        run.prints.finish()
        answer([run])


def answer(runs: list[Run]) -> None:
    """Give what came of inputs of one answerer to it."""
    for run in runs:
        run.settle()
        run.began_ns = run.began_ns or run.ended_ns or now_ns()
        run.ended_ns = run.ended_ns or run.began_ns
        run.loaded_ns = run.loaded_ns or run.began_ns
    with contextlib.suppress(FrameError):  # the agent is gone: the main thread sees that, too
        runs[0].answerer.answer(runs)
