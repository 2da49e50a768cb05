"""Restores that come to no end: what hangs is killed, and the start is served otherwise."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
from pathlib import Path

import psutil
import pytest

from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.starts import restoring, template
from rekindle.wire.phases import Strategy, now_ns
from tests.processes import descendants
from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.starts.counter import Counter

pytestmark = pytest.mark.criu


async def frozen(h: Harness, code: type, **spec: object) -> str:
    """A function that can be restored, and not be forked."""
    function_id = h.add(code, enable_memory_snapshot=True, spare_containers=0, **spec)
    prepared = await h.prepare(function_id, "restore")
    assert prepared.ok, prepared.reason
    revision = h.revision(function_id)
    revision.fork_unsafe = ["only restores are looked at"]
    revision.drop_template()
    return function_id


async def started(h: Harness, function_id: str) -> tuple[Runner, str]:
    """A new runner, and why it was not restored."""
    runner = await h.node.inventory.pools[(function_id, "")].starter.start(None, now_ns())
    (why,) = [note for note in runner.notes if note.startswith("restore passed over: ")]
    return runner, why.removeprefix("restore passed over: ")


def _stopped() -> list[psutil.Process]:
    """Those that hang."""
    found = []
    for one in descendants():
        with contextlib.suppress(psutil.NoSuchProcess):
            if one.status() == psutil.STATUS_STOPPED:
                found.append(one)
    return found


def test_a_criu_that_hangs_is_killed_and_the_start_is_served_otherwise(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(h: Harness) -> None:
        counter = await frozen(h, Counter)
        waiting = h.node.context.waiting
        assert waiting is not None
        waiting.criu = dataclasses.replace(waiting.criu, argv=("/bin/sh", "-c", "kill -STOP $$"))
        await h.uplink.until(lambda: waiting._refilling is None)
        waiting._discard()  # those that were begun before
        monkeypatch.setattr(restoring, "RESTORE_TIMEOUT_S", 1.0)
        runner, why = await started(h, counter)
        assert runner.strategy is Strategy.COLD
        assert why.endswith("could not be restored: CRIU took longer than 1 s")
        waiting.shut()  # nor are others begun
        await h.uplink.until(lambda: not _stopped())

    run(home, scenario)


class HangsAsItWakes:
    """A copy that was frozen goes on, and says nothing, while a file is there."""

    def load(self) -> None:
        from rekindle.forkserver import park

        read_orders = park.read_orders

        def read_and_hang() -> object:
            orders = read_orders()
            if os.path.exists(os.environ["MARK"]):
                os.kill(os.getpid(), signal.SIGSTOP)
            return orders

        park.read_orders = read_and_hang  # type: ignore[assignment]

    def pid(self) -> int:
        return os.getpid()


def test_a_restored_process_that_says_nothing_is_killed_and_the_start_is_served_otherwise(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"

    async def scenario(h: Harness) -> None:
        hangs = await frozen(h, HangsAsItWakes, env={"MARK": str(mark)})
        assert (await h.call(hangs, "pid", strategy="restore")).strategy == "restore"
        mark.touch()
        monkeypatch.setattr(restoring, "RESTORE_TIMEOUT_S", 5.0)
        runner, why = await started(h, hangs)
        assert runner.strategy is Strategy.COLD
        assert why.endswith("could not be restored: the restored process did not report")
        await h.uplink.until(lambda: not _stopped())

    run(home, scenario, restore_mode="mapped")  # or it would be copied, too


class HangsInChild:
    """Each copy hangs, in a handler."""

    def load(self) -> None:
        os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGSTOP))

    pid = HangsAsItWakes.pid


@pytest.mark.slow
def test_where_restored_copies_hang_in_a_handler_a_process_is_booted_and_soon_none_is_restored(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "FORK_TIMEOUT_S", 1.0)

    async def scenario(h: Harness) -> None:
        # What a cold start takes, too.
        hangs = await frozen(h, HangsInChild, startup_timeout_s=10.0)
        for _ in range(2):
            runner, why = await started(h, hangs)
            assert runner.strategy is Strategy.COLD
            assert why.startswith("the runner was not past its fork in 10 s"), why
            runner.kill("its notes are known")
        refused = h.revision(hangs).dying.why_not(Strategy.RESTORE)
        assert refused.startswith("2 runners restored from its snapshot ended in a row")
        await h.uplink.until(lambda: not _stopped())

    run(home, scenario)
