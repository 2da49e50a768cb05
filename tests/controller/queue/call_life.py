"""The life of calls as a state machine: a real controller and Redis, agents that the rules play.

The model knows what was submitted, what is with which agent, and which result came first.
"""

from __future__ import annotations

import asyncio
import functools
import subprocess
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rekindle.wire import rekindle_pb2 as pb
from tests.controller import harness
from tests.controller.fake_agent import FakeAgent, result_of
from tests.controller.harness import Client, Instance, new_id, spec

PATIENCE_S = 20.0
#: So many undone inputs at most: all fit into one agent, so each of them must reach one.
MOST = 12
#: Of one input: lost deliveries are placed again later each time.
MOST_LOST = 2
RETRIES = 1

Key = tuple[str, int]
T = TypeVar("T")
P = ParamSpec("P")
#: Which one of those that there are. A number, so that what Hypothesis draws does not depend on
#: what the controller did, which is not the same each time.
WHICH = st.integers(0, 99)


def only_where(
    applies: Callable[[CallLife], object],
) -> Callable[[Callable[Concatenate[CallLife, P], None]], Callable[Concatenate[CallLife, P], None]]:
    """Do nothing where a step does not apply.

    Not Hypothesis' precondition: that must be the same in each repetition, and which agent the
    controller chooses is not.
    """

    def limit(
        step: Callable[Concatenate[CallLife, P], None],
    ) -> Callable[Concatenate[CallLife, P], None]:
        @functools.wraps(step)
        def limited(self: CallLife, /, *args: P.args, **kwargs: P.kwargs) -> None:
            if applies(self):
                step(self, *args, **kwargs)

        return limited

    return limit


def pick(those: Sequence[T], which: int) -> T:
    """One of them."""
    return those[which % len(those)]


@dataclass
class Wanted:
    """An input as the model knows it; ``status`` and ``data`` of its first result."""

    payload: bytes
    status: int = 0
    data: bytes = b""
    failures: int = 0
    lost: int = 0
    #: Undone when its call was cancelled: CANCELLED is right, and so is what its agent reports.
    ambiguous: bool = False

    @property
    def done(self) -> bool:
        return self.status != 0


@dataclass
class Played:
    """An agent that the rules play, the process that it stands for, and what it has."""

    agent: FakeAgent
    process: subprocess.Popen[bytes]
    hand: dict[Key, pb.Assign] = field(default_factory=dict)
    acknowledged: set[Key] = field(default_factory=set)


class CallLife(RuleBasedStateMachine):
    """See the module."""

    def __init__(self, instance: Instance) -> None:
        super().__init__()
        self.instance = instance
        self.calls = 0
        self.deaths = {"controller": 0, "redis": 0}
        self.wanted: dict[Key, Wanted] = {}
        self.open: dict[str, int] = {}  # calls that more inputs may come for: how many they have
        self.cancelled: set[str] = set()
        self.requests: dict[str, list[dict[int, bytes]]] = {}
        self.reported: list[pb.Assign] = []  # whose input is done
        self.agents: list[Played] = []
        self.go(self._begin())

    def go(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a step in the loop of these tests."""

        async def limited() -> Any:
            async with asyncio.timeout(PATIENCE_S):
                return await work

        return harness._RUNNER.run(limited())

    async def _begin(self) -> None:
        self.client = Client(self.instance)
        name = f"life-{new_id('x')[-8:]}"
        retries = {"max_retries": RETRIES, "initial_delay_s": 0.02}
        self.app_id, [self.function_id] = await self.client.register(name, spec(retries=retries))
        await self._join()

    async def _join(self) -> Played:
        process = subprocess.Popen(["sleep", "600"])  # noqa: ASYNC220 - it is made at once
        played = Played(FakeAgent(self.instance, pid=process.pid, max_runners=MOST), process)
        self.agents.append(played)
        await played.agent.connect()
        return played

    # ---- the model

    def missing(self) -> set[Key]:
        """Undone inputs that no agent has: each must come to one."""
        held = {key for played in self.agents for key in played.hand}
        undone = {key for key, w in self.wanted.items() if not (w.done or w.ambiguous)}
        return undone - held

    def settle(self, key: Key, status: int, data: bytes) -> None:
        """A result is in; the first one counts."""
        wanted = self.wanted[key]
        if not wanted.done:
            wanted.status, wanted.data = status, data

    def in_hand(self, *, lost_below: int = MOST_LOST) -> list[tuple[Played, Key]]:
        """What agents have, of inputs that were not lost too often."""
        return [
            (played, key)
            for played in self.agents
            for key in sorted(played.hand)
            if self.wanted[key].lost < lost_below
        ]

    # ---- submitting

    @rule(count=st.integers(1, 4), last=st.booleans())
    @only_where(lambda self: len(self.missing()) + len(self.in_hand()) < MOST - 4)
    def submit(self, count: int, last: bool) -> None:
        """A new call."""
        # Random, and yet in the order in which they were made: the same examples come again.
        self.calls += 1
        self._submit(f"fc-{self.calls:04}{new_id('x')[2:20]}", 0, count, last)

    @rule(which=WHICH, count=st.integers(1, 3), last=st.booleans())
    @only_where(lambda self: self.open and len(self.missing()) + len(self.in_hand()) < MOST - 4)
    def submit_more(self, which: int, count: int, last: bool) -> None:
        """Further inputs of a call."""
        call_id = pick(sorted(self.open), which)
        self._submit(call_id, self.open[call_id], count, last)

    def _submit(self, call_id: str, first: int, count: int, last: bool) -> None:
        payloads = {
            i: b"payload %d of %s" % (i, call_id.encode()) for i in range(first, first + count)
        }
        self.go(self.client.submit(self.function_id, payloads, call_id=call_id, last=last))
        self.requests.setdefault(call_id, []).append(payloads)
        self.wanted |= {(call_id, i): Wanted(payload) for i, payload in payloads.items()}
        if call_id in self.cancelled:  # that holds for what comes later
            for i in payloads:
                self.wanted[call_id, i].status = pb.CANCELLED
        if last:
            self.open.pop(call_id, None)
        else:
            self.open[call_id] = first + count

    @rule(which=WHICH)
    @only_where(lambda self: self.requests)
    def submit_again(self, which: int) -> None:
        """As a client does whose reply was lost: nothing is accepted a second time."""
        call_id = pick(sorted(self.requests), which)
        payloads = pick(self.requests[call_id], which)
        request = pb.SubmitRequest(
            call_id=call_id,
            function_id=self.function_id,
            inputs=[pb.Input(index=i, payload=payload) for i, payload in payloads.items()],
        )

        async def again() -> int:
            return int((await self.client.call("Submit", request)).accepted)

        assert self.go(again()) == 0

    # ---- agents

    @rule()
    @only_where(lambda self: self.missing())
    def take(self) -> None:
        """The inputs that nobody has come to an agent each; no two have one."""
        while self.missing():
            self.go(self._take())

    async def _take(self) -> None:
        while True:
            getting = {asyncio.ensure_future(p.agent.assigned.get()): p for p in self.agents}
            done, rest = await asyncio.wait(getting, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            fresh = False
            for task in done:
                assign = task.result()
                key = (assign.call_id, assign.inputs[0].index)
                assert assign.inputs[0].payload == self.wanted[key].payload
                if self.wanted[key].done:
                    continue  # it was handed out before its first result came; a cancel follows
                assert all(key not in played.hand for played in self.agents), "two have it"
                getting[task].hand[key] = assign
                fresh = True
            if fresh:
                return

    @rule(which=WHICH, result=st.binary(max_size=8))
    @only_where(lambda self: self.in_hand(lost_below=100))
    def complete(self, which: int, result: bytes) -> None:
        """An agent has a result."""
        played, key = pick(self.in_hand(lost_below=100), which)
        assign = played.hand.pop(key)
        self.settle(key, pb.SUCCESS, result)
        self.reported.append(assign)
        self.go(self._report(played, assign, result, pb.SUCCESS))

    @rule(which=WHICH)
    @only_where(lambda self: self.reported)
    def complete_again(self, which: int) -> None:
        """A second result of an input that has one."""
        assign = pick(self.reported, which)
        played = pick(self.agents, which)
        self.go(self._report(played, assign, b"second", pb.SUCCESS))

    @rule(which=WHICH)
    @only_where(lambda self: self.in_hand(lost_below=100))
    def fail(self, which: int) -> None:
        """The function raised: run again once, then that is the result."""
        played, key = pick(self.in_hand(lost_below=100), which)
        assign = played.hand.pop(key)
        wanted = self.wanted[key]
        wanted.failures += 1
        if wanted.failures > RETRIES:
            self.settle(key, pb.FAILURE, b"failed")
            self.reported.append(assign)
        self.go(self._report(played, assign, b"failed", pb.FAILURE))

    async def _report(
        self, played: Played, assign: pb.Assign, data: bytes, status: pb.ResultStatus
    ) -> None:
        key = (assign.call_id, assign.inputs[0].index)
        await played.agent.done(assign, data, status)
        while True:
            ack = await played.agent.acks.get()
            if key in {(ack.call_id, index) for index in ack.indexes}:
                return

    @rule(which=WHICH)
    @only_where(lambda self: self.in_hand())
    def runner_dies(self, which: int) -> None:
        """An agent gives an input back: it has begun, and its runner is gone."""
        played, key = pick(self.in_hand(), which)
        played.hand.pop(key)
        self.wanted[key].lost += 1
        returned = pb.InputsReturned(
            call_id=key[0], indexes=[key[1]], begun=[key[1]], reason="died"
        )
        self.go(played.agent.send(returned=returned))

    @rule(which=WHICH)
    @only_where(lambda self: len(self.in_hand()) == len(self.in_hand(lost_below=100)))
    def agent_dies(self, which: int) -> None:
        """Its inputs are lost with it; another one comes."""
        played = pick(self.agents, which)
        for key in played.hand:
            self.wanted[key].lost += 1
        self.agents.remove(played)

        async def die() -> None:
            await self._end(played)
            if not self.agents:
                await self._join()

        self.go(die())

    @rule()
    @only_where(lambda self: len(self.agents) < 3)
    def agent_joins(self) -> None:
        """One more."""
        self.go(self._join())

    @rule(which=WHICH, kept=st.sets(st.integers(0, 4)))
    def agent_rejoins(self, which: int, kept: set[int]) -> None:
        """Its connection broke; it keeps what it still has, the rest never reached it."""
        played = pick(self.agents, which)
        played.hand = {key: assign for key, assign in played.hand.items() if key[1] in kept}
        self.go(self._again(played))

    async def _again(self, played: Played) -> None:
        await played.agent.disconnect()
        # What lies in its queue was in the broken connection: it never saw that.
        played.agent.assigned = asyncio.Queue()
        await played.agent.connect(in_flight=list(played.hand.values()))

    # ---- the control plane

    @rule()
    @only_where(lambda self: self.deaths["controller"] < 1 and self.wanted)
    def controller_dies(self) -> None:
        """SIGKILL; the next one reads everything back."""
        self.deaths["controller"] += 1  # each takes a second: one in a life is enough

        async def die() -> None:
            self.instance.kill_controller()
            for played in self.agents:
                await played.agent.lost_connection()
            self.instance.start_controller()
            for played in self.agents:
                await self._again(played)

        self.go(die())

    @rule()
    @only_where(lambda self: self.deaths["redis"] < 2 and self.wanted)
    def redis_dies(self) -> None:
        """SIGKILL; the next one reads its file."""
        self.deaths["redis"] += 1
        self.instance.kill_redis()
        self.instance.start_redis()

    @rule(which=WHICH)
    @only_where(lambda self: self.requests)
    def cancel(self, which: int) -> None:
        """Nobody wants a call any more: what is queued is cancelled, what runs is told."""
        call_id = pick(sorted(self.requests), which)
        request = pb.CancelCallRequest(call_id=call_id)

        async def ask() -> None:
            await self.client.call("CancelCall", request)

        self.go(ask())
        self.cancelled.add(call_id)
        for key, wanted in self.wanted.items():
            if key[0] == call_id and not wanted.done:
                # Handed out by now, or not: who knows.
                wanted.ambiguous = True

    # ---- what always holds

    @invariant()
    def counts_are_right(self) -> None:
        """The controller counts what the model counts."""
        for call_id in self.requests:
            mine = [w for key, w in self.wanted.items() if key[0] == call_id]
            if any(wanted.ambiguous for wanted in mine):
                continue
            info = self.go(self._info(call_id))
            assert (info.inputs, info.done) == (len(mine), sum(w.done for w in mine)), call_id

    async def _info(self, call_id: str) -> pb.CallInfo:
        request = pb.GetCallRequest(call_id=call_id)
        info: pb.CallInfo = await self.client.call("GetCall", request)
        return info

    def teardown(self) -> None:
        """Everything that is undone runs now; then each input has one result, the first."""
        try:
            self.go(self._finish())
        finally:
            self.go(self._leave())

    async def _finish(self) -> None:
        for played in self.agents:
            played.agent.answer(lambda assign: result_of(assign, b"at last"))
            waiting = [
                played.agent.assigned.get_nowait() for _ in range(played.agent.assigned.qsize())
            ]
            for assign in (*played.hand.values(), *waiting):
                await played.agent.done(assign, b"at last")
        for call_id in list(self.open):
            await self.client.submit(self.function_id, {}, call_id=call_id, last=True)
        for call_id in self.requests:
            first = await self.client.results(call_id)
            again = await self.client.results(call_id)
            mine = {key[1]: wanted for key, wanted in self.wanted.items() if key[0] == call_id}
            assert sorted(result.index for result in first) == sorted(mine), "each once, none lost"
            for result in first:
                self._check(result, mine[result.index])
            key = lambda result: result.index  # noqa: E731
            assert [r.data for r in sorted(first, key=key)] == [
                r.data for r in sorted(again, key=key)
            ]

    def _check(self, result: pb.Result, wanted: Wanted) -> None:
        if wanted.ambiguous:  # whichever came first
            assert result.status in (pb.CANCELLED, pb.SUCCESS, pb.FAILURE)
        elif wanted.done:
            assert (result.status, result.data) == (wanted.status, wanted.data)
        else:
            assert (result.status, result.data) == (pb.SUCCESS, b"at last")

    async def _leave(self) -> None:
        await self.client.call("CloseApp", pb.CloseAppRequest(app_id=self.app_id))
        for played in self.agents:
            await self._end(played)
        await self.client.__aexit__()

    async def _end(self, played: Played) -> None:
        played.process.kill()
        played.process.wait()
        await played.agent.__aexit__()
