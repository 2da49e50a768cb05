"""Turns of starts: a few at a time, groups in turn, and none waits for the whole of another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from rekindle.runtime.agent.starts.turns import Turns

_FOREVER_S = 3600.0


class _Starts:
    """Starts that go on until they are told to end; ``at_work`` has them in their order."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.at_work: list[str] = []
        self.waited: dict[str, bool] = {}
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, *names: str) -> None:
        """Ask for turns; a name is ``GROUP`` and a number."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._work(name))
        await self.settled()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await self.settled()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.gather(self._tasks[name], return_exceptions=True)
        await self.settled()

    async def settled(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def _work(self, name: str) -> None:
        async with self.turns.turn(name[0]) as waited:
            self.waited[name] = waited
            self.at_work.append(name)
            await self._ends[name].wait()


def _run(test: Callable[[_Starts], Coroutine[Any, Any, None]], **options: float) -> None:
    async def run() -> None:
        await test(_Starts(Turns(places=2, **{"longest_s": _FOREVER_S, **options})))

    asyncio.run(run())


def test_so_many_work_at_a_time_and_the_others_follow_as_these_end() -> None:
    async def test(starts: _Starts) -> None:
        await starts.ask("a1", "a2", "a3", "a4")
        assert starts.at_work == ["a1", "a2"]
        await starts.end("a2")
        assert starts.at_work == ["a1", "a2", "a3"]
        await starts.end("a1")
        assert starts.at_work == ["a1", "a2", "a3", "a4"]
        assert starts.waited == {"a1": False, "a2": False, "a3": True, "a4": True}

    _run(test)


def test_a_group_that_asks_for_one_does_not_wait_behind_all_of_another() -> None:
    async def test(starts: _Starts) -> None:
        await starts.ask("a1", "a2", "a3", "a4", "a5", "b1")
        await starts.end("a1")
        await starts.end("a2")
        assert starts.at_work == ["a1", "a2", "a3", "b1"]

    _run(test)


def test_one_that_takes_long_goes_on_beside_the_next() -> None:
    async def test(starts: _Starts) -> None:
        await starts.ask("a1", "a2", "a3")
        while "a3" not in starts.at_work:
            await asyncio.sleep(0.001)
        for name in ("a1", "a2", "a3"):
            await starts.end(name)
        starts.turns.longest_s = _FOREVER_S
        await starts.ask("a4", "a5", "a6")  # each place was given back once
        assert starts.at_work[3:] == ["a4", "a5"]
        await starts.end("a4")
        await starts.end("a5")
        await starts.end("a6")

    _run(test, longest_s=0.001)


def test_what_is_cancelled_while_it_waits_or_works_takes_no_place() -> None:
    async def test(starts: _Starts) -> None:
        await starts.ask("a1", "a2", "a3", "a4", "a5")
        await starts.cancel("a3")
        await starts.cancel("a1")
        assert starts.at_work == ["a1", "a2", "a4"]
        await starts.end("a2")
        await starts.end("a4")
        await starts.end("a5")
        await starts.ask("a6", "a7", "a8")
        assert starts.at_work[-2:] == ["a6", "a7"]

    _run(test)
