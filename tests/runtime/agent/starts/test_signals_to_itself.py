"""Signals that user code of a copy sends to itself, as PID 1 of its namespace. Real processes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.runtime.agent.harness import Harness, run

pytestmark = pytest.mark.criu


class Own:
    """One that sends signals to its own process, or aborts."""

    def load(self) -> None:
        self.loaded = True

    def send(self, number: int, *, handled: bool = False) -> list[int]:
        import os
        import signal

        came: list[int] = []
        if handled:
            signal.signal(number, lambda number, _frame: came.append(number))
        os.kill(os.getpid(), number)
        return came

    def end(self) -> None:
        import os

        os._exit(3)

    def abort(self) -> None:
        import os

        os.abort()


async def _ready(h: Harness) -> str:
    own = h.add(Own, enable_memory_snapshot=True, spare_containers=1)
    for wanted in ("restore", "fork"):
        prepared = await h.prepare(own, wanted)
        assert prepared.ok, prepared.reason
    return own


@pytest.mark.parametrize("strategy", ["fork", "spare"])
def test_of_signals_to_itself_a_copy_gets_those_alone_that_it_handles(
    home: Path, strategy: str
) -> None:
    async def scenario(h: Harness) -> None:
        own = await _ready(h)
        for number in (signal.SIGKILL, signal.SIGTERM):
            assert (await h.call(own, "send", int(number), strategy=strategy)).value == []
        handled = await h.call(own, "send", int(signal.SIGTERM), handled=True, strategy=strategy)
        assert handled.value == [signal.SIGTERM]

    run(home, scenario)


@pytest.mark.parametrize("strategy", ["fork", "spare"])
def test_a_copy_that_aborts_or_exits_is_lost_and_it_is_said_how(home: Path, strategy: str) -> None:
    async def scenario(h: Harness) -> None:
        own = await _ready(h)
        for way, words in (("abort", "os.abort()"), ("end", "exit status 3")):
            h.submit(own, way, strategy=strategy)
            await h.uplink.until(lambda: h.uplink.returned)
            assert words in h.uplink.returned.pop().reason

    run(home, scenario)


@pytest.mark.parametrize("strategy", ["cold", "restore"])
def test_one_that_is_no_fork_dies_by_a_signal_to_itself(home: Path, strategy: str) -> None:
    async def scenario(h: Harness) -> None:
        own = await _ready(h)
        h.submit(own, "send", int(signal.SIGKILL), strategy=strategy)
        await h.uplink.until(lambda: h.uplink.returned)
        assert "SIGKILL" in h.uplink.returned.pop().reason

    run(home, scenario)
