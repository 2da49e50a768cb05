"""Blocks that a signal's exception ends, at each place of ours where Python lets a handler run:
what they set is as it was before."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

import rekindle
from rekindle import lazily
from rekindle.sdk import environments, interrupted_deploy, running, volume_waits
from rekindle.sdk.calls import records
from rekindle.sdk.run import AppRun
from tests import threads
from tests.e2e.harness import wait_until
from tests.interrupts import at_all_places
from tests.sdk.fake_controller import FakeController

ERRORS = pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])


def _timers() -> int:
    """Of waits for the directory of volumes; other threads of this process come and go."""
    running = (one for one in threading.enumerate() if isinstance(one, threading.Timer))
    return sum(one.function is volume_waits._tell for one in running)


@pytest.mark.parametrize(
    ("block", "state"),
    [
        (lambda: running.ask_strategy("cold"), running.asked_strategy),
        (records.collect, records.collecting),
        (lazily.loading, gc.isenabled),
        (lambda: environments.of_app("other"), lambda: environments.environment_of(None)),
        (environments.code_travels, environments.travels_as_code),
        (
            lambda: interrupted_deploy.interruptible(interrupted_deploy.DeployAttempt()),
            interrupted_deploy._current.get,
        ),
        (volume_waits.told, _timers),
    ],
)
def test_what_a_block_sets_does_not_outlive_an_interrupt(
    block: Callable[[], AbstractContextManager[Any]], state: Callable[[], object]
) -> None:
    before = state()

    def within() -> None:
        with block():
            pass

    within()

    def look(at: str) -> None:
        wait_until(lambda: state() == before, f"what it was before {at}", state=state)

    assert at_all_places(within, look)


# Without its source: all modules of ours that are loaded would be looked at, traced, at each place.
app = rekindle.App("interrupted-blocks", include_source=False)


@app.function()
def double(number: int) -> int:
    return 2 * number


@ERRORS
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_an_interrupted_run_leaves_no_app_that_runs_and_no_thread(
    controller: FakeController, error: type[BaseException]
) -> None:
    blocks: list[AppRun[Any]] = []

    def run() -> None:
        blocks.append(block := app.run())
        with block:
            pass

    run()
    with app.run():
        assert double.remote(2) == 4
    before = threads.ours()

    def look(at: str) -> None:
        if at.startswith("run.py") and at.endswith("at the beginning of __exit__"):
            # Before its first instruction nothing of it can be done.
            blocks[-1].__exit__(None, None, None)
        blocks.clear()
        assert app.running is None and not running._stack, at
        threads.until_no_more_than(before, at)

    files = {"run.py", "holding.py", "session.py", "running.py", "lease_caches.py"}
    places = at_all_places(run, look, error=error, within=files)
    assert {one.partition(":")[0] for one in places} == files
