"""How a runner ended, and what follows from that, also where it becomes known late."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import pytest

from rekindle.runtime.agent.runners import runner as runners
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.runtime.agent.runners.output import Output
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.wire.page import CANCEL_SIGNAL, RunnerPage
from rekindle.wire.phases import Strategy, now_ns


@pytest.mark.parametrize("is_late", [False, True])
def test_why_its_memory_could_not_be_read_is_asked_whenever_it_is_known_that_it_ended_of_that(
    monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    if is_late:
        monkeypatch.setattr(runners, "_STATUS_WAIT_S", 0.0)

    async def main() -> None:
        ours, theirs = socket.socketpair()
        exit_status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asked = asyncio.Event()

        def why_lost() -> str:
            asked.set()
            return "the store has lost it"

        runner = _runner(ours, exit_status)
        runner.why_lost = why_lost
        with theirs:
            runner.lost()
            if is_late:
                assert (await runner.fate()).endswith("it closed its connection")
                assert not asked.is_set()
            exit_status.set_result(-signal.SIGBUS)
            async with asyncio.timeout(60):
                await asked.wait()
            if not is_late:
                assert (await runner.fate()).endswith("the store has lost it")

    asyncio.run(main())


@pytest.mark.parametrize("pid", [0, -1])
def test_what_is_asked_to_cancel_when_its_process_is_known_no_more_is_no_other_process(
    monkeypatch: pytest.MonkeyPatch, pid: int
) -> None:
    signalled: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signalled.append((pid, number)))

    async def main() -> None:
        ours, theirs = socket.socketpair()
        runner = _runner(ours, asyncio.get_running_loop().create_future())
        with theirs:
            here, runner.channel.pid = runner.channel.pid, pid
            runner.ask_to_cancel(1, 0.0)
            assert not signalled
            runner.channel.pid = here
            runner.ask_to_cancel(2, 0.0)
            assert signalled == [(here, CANCEL_SIGNAL)]
            runner.kill("the test is over")

    asyncio.run(main())


def test_a_run_that_is_to_be_cancelled_is_signalled_ever_more_slowly_until_it_has_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signalled: list[float] = []
    now = 0.0
    monkeypatch.setattr(os, "kill", lambda _pid, _number: signalled.append(now))

    async def main() -> None:
        nonlocal now
        ours, theirs = socket.socketpair()
        runner = _runner(ours, asyncio.get_running_loop().create_future())
        with theirs:
            for now in (100.0, 100.25, 100.5, 100.75, 101.0, 101.25, 102.0, 103.0, 104.0):
                assert runner.ask_to_cancel(1, now) == now - 100.0
            assert signalled == [100.0, 100.25, 100.5, 101.0, 102.0, 104.0]
            runner.page.hear(1)
            for now in (108.0, 120.0):
                assert runner.ask_to_cancel(1, now) == now - 100.0
            assert signalled[-1] == 104.0
            assert runner.ask_to_cancel(2, now) == 0.0  # of another run
            assert signalled[-1] == 120.0
            runner.kill("the test is over")

    asyncio.run(main())


def _runner(sock: socket.socket, exit_status: asyncio.Future[int]) -> Runner:
    return Runner(
        id="ru-1",
        strategy=Strategy.RESTORE,
        channel=Channel(sock),
        output=Output(lambda line: None),
        page=RunnerPage.create(),
        exit_status=exit_status,
        end_process=lambda: None,
        began_ns=now_ns(),
    )
