"""Any order of events in the life of a runner, as its agent sees it: every state is a legal one.

The process is played: a channel without a process behind it, an exit status that the rules set.
Output and page are real ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rekindle.exception import InternalFailure, RunnerLostError, StartupTimeoutError
from rekindle.runtime.agent.inputs.assignment import Slice
from rekindle.runtime.agent.inputs.outcome import UserCodeFailed
from rekindle.runtime.agent.runners import runner as runners
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.runtime.agent.runners.output import Output
from rekindle.runtime.agent.runners.runner import Runner, RunnerState
from rekindle.wire.frames import FrameError, Header
from rekindle.wire.page import RunnerPage
from rekindle.wire.phases import Strategy, now_ns

ALIVE = (RunnerState.IDLE, RunnerState.BUSY, RunnerState.LENT, RunnerState.STOPPING)
STARTED_BY: Header = {"op": "ready", "marks": [["import", 1]]}


class PlayedChannel:
    """What a runner does with its channel, and what comes out of it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.sent: list[str] = []
        self.closed = False
        self.unread: deque[Header] = deque()  # it has sent that, and nobody has looked yet
        self._first: asyncio.Future[Header | None] = asyncio.get_running_loop().create_future()
        self._on_frame: Callable[[Header, bytes], None] | None = None
        self._on_end: Callable[[], None] | None = None

    def deliver(self, header: Header) -> None:
        """The process sends a frame."""
        if self._on_frame is not None:
            self._on_frame(header, b"")
        elif not self._first.done():
            self._first.set_result(header)

    def end(self) -> None:
        """The process closes its end."""
        if self._on_end is not None:
            self._on_end()
        elif not self._first.done():
            self._first.set_result(None)

    # ---- what a runner asks of it

    async def receive(self, timeout_s: float | None = None) -> tuple[Header, bytes]:
        async with asyncio.timeout(timeout_s):
            header = await self._first
        if header is None:
            raise FrameError("the process closed the connection")
        return header, b""

    def subscribe(
        self, on_frame: Callable[[Header, bytes], None], on_end: Callable[[], None]
    ) -> None:
        self._on_frame, self._on_end = on_frame, on_end

    def send(self, header: Header, body: bytes = b"") -> None:
        if self.closed:
            raise FrameError("the process closed the connection")
        self.sent.append(header["op"])

    def drain(self) -> None:
        while self.unread:
            self.deliver(self.unread.popleft())

    def close(self) -> None:
        self.closed = True
        self._on_frame = self._on_end = None


class RunnerLife(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.expected = RunnerState.STARTING
        self.slices = 0
        self.told = 0
        self.ended = 0
        self.results: list[int] = []
        self.sent_when_gone = 0
        self.reasons: list[str] = []
        self.stopping: asyncio.Task[None] | None = None
        self.go(self._begin())

    def go(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a step in this life's own loop."""
        return self.loop.run(work)

    async def _begin(self) -> None:
        self.channel = PlayedChannel()
        self.output = Output(lambda line: None)
        self.exit_status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.runner = Runner(
            id="ru-played",
            strategy=Strategy.COLD,
            channel=cast(Channel, self.channel),
            output=self.output,
            page=RunnerPage.create(),
            exit_status=self.exit_status,
            end_process=self._end_process,
            began_ns=now_ns(),
        )
        self.runner.on_gone["test"] = self._gone
        self.runner.handlers["results"] = lambda header, _body: self.results.append(header["n"])

    def _end_process(self) -> None:
        self.ended += 1
        if not self.exit_status.done():
            self.exit_status.set_result(-9)

    def _gone(self) -> None:
        assert self.runner.state is RunnerState.GONE
        self.told += 1

    def gone(self, reason: str) -> None:
        """The model: it has ended, for the first reason that there was."""
        if self.expected is not RunnerState.GONE:
            self.expected = RunnerState.GONE
            self.sent_when_gone = len(self.channel.sent)
            self.reasons.append(reason)

    # ---- starting

    @precondition(lambda self: self.expected is RunnerState.STARTING)
    @rule()
    def becomes_ready(self) -> None:
        self.channel.deliver(STARTED_BY)
        self.go(self.runner.become_ready(5.0))
        self.expected = RunnerState.IDLE

    @precondition(lambda self: self.expected is RunnerState.STARTING)
    @rule(how=st.sampled_from(["user code", "process", "time"]))
    def start_fails(self, how: str) -> None:
        async def fail() -> None:
            if how == "user code":
                self.channel.deliver(
                    {"op": "start_failed", "marks": []}
                    | {"error_type": "ValueError", "message": "no"}
                )
                with pytest.raises(UserCodeFailed):
                    await self.runner.become_ready(5.0)
            elif how == "process":
                self.channel.end()
                self.exit_status.set_result(3)
                with pytest.raises(RunnerLostError, match="status 3"):
                    await self.runner.become_ready(5.0)
            else:
                with pytest.raises(StartupTimeoutError):
                    await self.runner.become_ready(0.001)
                self.runner.kill("not ready in time")

        self.go(fail())
        self.gone({"user code": "start failed", "process": "", "time": "not ready in time"}[how])

    # ---- working

    @rule()
    def is_handed_a_slice(self) -> None:
        order = cast(Any, SimpleNamespace(call_id="fc-played"))
        piece = Slice(self.runner.handed + 1, order, now_ns(), {}, self.slices == 0)
        if self.expected in (RunnerState.IDLE, RunnerState.BUSY):
            self.runner.hand(piece)
            self.expected = RunnerState.BUSY
            self.slices += 1
            return
        with pytest.raises(InternalFailure):
            self.runner.hand(piece)

    @precondition(lambda self: self.expected is RunnerState.BUSY)
    @rule()
    def ends_a_slice(self) -> None:
        if self.slices:
            self.runner.slices.popleft()
            self.slices -= 1
        if not self.slices:
            self.runner.move(RunnerState.IDLE)
            self.expected = RunnerState.IDLE

    @rule()
    def is_lent(self) -> None:
        if self.expected is RunnerState.IDLE:
            self.runner.move(RunnerState.LENT)
            self.expected = RunnerState.LENT
        else:
            with pytest.raises(InternalFailure):
                self.runner.move(RunnerState.LENT)

    @precondition(lambda self: self.expected is RunnerState.LENT)
    @rule()
    def is_taken_back(self) -> None:
        self.runner.move(RunnerState.IDLE)
        self.expected = RunnerState.IDLE

    @precondition(lambda self: self.expected in (RunnerState.STOPPING, RunnerState.GONE))
    @rule()
    def is_not_taken_back_when_it_ends(self) -> None:
        with pytest.raises(InternalFailure):
            self.runner.move(RunnerState.IDLE)

    @precondition(lambda self: self.expected in ALIVE)
    @rule(n=st.integers(0, 9), known=st.booleans())
    def sends_a_frame(self, n: int, known: bool) -> None:
        before = len(self.results)
        self.channel.deliver({"op": "results" if known else "nonsense", "n": n})
        assert len(self.results) == before + known

    # ---- ending

    @rule(reason=st.sampled_from(["timeout", "cancelled", "closed"]))
    def is_killed(self, reason: str) -> None:
        async def kill() -> None:
            self.runner.kill(reason)

        self.go(kill())
        self.gone(reason)

    @precondition(lambda self: self.expected in ALIVE)
    @rule()
    def is_killed_with_results_on_their_way(self) -> None:
        """What it had finished is taken in first."""
        before = len(self.results)
        self.channel.unread.append({"op": "results", "n": 1})
        self.is_killed("timeout")
        assert len(self.results) == before + 1

    @precondition(lambda self: self.expected is not RunnerState.STARTING)
    @rule(status=st.sampled_from([0, 1, -9, -11]), by_channel=st.booleans())
    def its_process_ends(self, status: int, by_channel: bool) -> None:
        async def end() -> None:
            if not self.exit_status.done():
                self.exit_status.set_result(status)
            if by_channel:
                self.channel.end()
            else:
                self.runner.lost()
            words = await self.runner.fate()
            assert words.startswith("runner ru-played: ") and len(words) > 20

        self.go(end())
        self.gone("")

    @precondition(lambda self: self.expected is not RunnerState.STARTING and not self.stopping)
    @rule()
    def is_asked_to_stop(self) -> None:
        async def begin() -> None:
            self.stopping = asyncio.ensure_future(self.runner.stop(30.0))
            await asyncio.sleep(0)

        was_idle = self.expected is RunnerState.IDLE
        self.go(begin())
        if was_idle:
            self.expected = RunnerState.STOPPING
            assert self.channel.sent[-1] == "stop"
        else:  # it has work, or has ended: there is nothing to wait for
            self.gone("stopped")

    @precondition(lambda self: self.expected is RunnerState.STOPPING)
    @rule()
    def has_run_its_exit_hooks(self) -> None:
        async def stopped() -> None:
            self.channel.deliver({"op": "stopped"})
            assert self.stopping is not None
            await self.stopping

        self.go(stopped())
        self.gone("stopped")

    @precondition(lambda self: self.expected is RunnerState.IDLE)
    @rule()
    def its_exit_hooks_take_too_long(self) -> None:
        self.go(self.runner.stop(0.001))
        self.gone("stopped")

    # ---- what always holds

    @invariant()
    def its_state_is_the_expected_one(self) -> None:
        assert self.runner.state is self.expected
        assert len(self.runner.slices) == self.slices

    @invariant()
    def one_that_is_gone_has_given_everything_back_once(self) -> None:
        is_gone = self.expected is RunnerState.GONE
        assert self.runner.dying is is_gone
        assert self.channel.closed is is_gone
        assert self.told == int(is_gone)
        assert bool(self.ended) is is_gone
        assert bool(self.output._streams) is not is_gone
        if is_gone:
            with pytest.raises(ValueError, match=r"released|closed"):
                _ = self.runner.page.began_ns
            assert len(self.channel.sent) == self.sent_when_gone, "it was sent something"
            assert self.runner.kill_reason == self.reasons[0], "the first reason is the one told"

    def teardown(self) -> None:
        async def end() -> None:
            self.runner.kill("the test is over")
            if self.stopping is not None:
                await self.stopping

        with contextlib.closing(self.loop):
            self.go(end())
            self.gone("the test is over")
            self.one_that_is_gone_has_given_everything_back_once()


def test_whatever_happens_a_runner_is_in_a_legal_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "_STATUS_WAIT_S", 0.01)
    RunnerLife.TestCase.settings = settings(
        max_examples=60,
        stateful_step_count=25,
        suppress_health_check=list(HealthCheck),
    )
    RunnerLife.TestCase().runTest()
