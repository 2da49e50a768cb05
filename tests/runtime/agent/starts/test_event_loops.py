"""What async hooks of a template made belongs to the loop of every copy's methods."""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.starts import copies

pytestmark = pytest.mark.criu


class Holds:
    """Made on the loop before it parks: what waits, what goes on, and what is due."""

    async def load(self) -> None:
        import aiohttp
        import redis.asyncio
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        self.loop = asyncio.get_running_loop()
        self.lock, self.queue = asyncio.Lock(), asyncio.Queue()
        await self.lock.acquire()
        waiter = asyncio.ensure_future(self.lock.acquire())  # it has to do with this loop now
        await asyncio.sleep(0)
        self.session = aiohttp.ClientSession()
        # It would ask again for seconds.
        self.redis = redis.asyncio.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))
        self.variable = contextvars.ContextVar("variable", default="not set")
        self.variable.set("by the hook")
        self.ticks = 0
        self.task = asyncio.ensure_future(self._tick())
        self.late = self.loop.call_later(3600, self.queue.put_nowait, "too early")
        self.left_s = self.late.when() - self.loop.time()
        self.pid = os.getpid()
        # A thread of the loop's, and what it leaves in the wake-up pipe.
        await asyncio.to_thread(time.sleep, 0)
        assert not waiter.done()
        self.waiter = waiter

    async def _tick(self) -> None:
        while True:
            self.queue.put_nowait(await self.queue.get() + 1 if self.ticks else 0)
            self.ticks += 1
            await asyncio.sleep(0.001)

    async def probe(self) -> dict[str, Any]:
        import aiohttp
        import redis

        ticks = self.ticks
        while self.ticks < ticks + 3:
            await asyncio.sleep(0.001)
        self.lock.release()
        await self.waiter
        with pytest.raises(aiohttp.ClientConnectionError):
            await self.session.get("http://127.0.0.1:1/")
        with pytest.raises(redis.exceptions.ConnectionError):
            await self.redis.get("key")
        await asyncio.to_thread(time.sleep, 0)
        return {
            "one loop": self.loop is asyncio.get_running_loop(),
            "variable": self.variable.get(),
            "time left": round(self.late.when() - self.loop.time(), -2),
            "pid": os.getpid(),
        }


RIGHT = {"one loop": True, "variable": "by the hook", "time left": 3600}


def test_forks_and_restores_have_the_loop_of_the_hooks(home: Path) -> None:
    said = copies.say(home, Holds, "probe")
    assert set(said) >= {"fork", "restore", "fork of a restored template"}
    for one in copies.all_of(said):
        assert {**one, "pid": 0} == {**RIGHT, "pid": 0}


class Sleeps:
    """A timer that is due a moment after it parked has that moment left in each copy."""

    async def load(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.fired: list[float] = []
        self.timer = self.loop.call_later(0.5, lambda: self.fired.append(self.loop.time()))

    async def probe(self) -> list[bool]:
        came_s = self.loop.time()
        left_s = self.timer.when() - came_s
        was_due = bool(self.fired)
        while not self.fired:
            await asyncio.sleep(0.01)
        return [was_due, left_s > 0, self.fired[0] >= self.timer.when()]


def test_a_cold_start_has_the_loop_of_its_hooks(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        called = await h.call(h.add(Holds), "probe", strategy="cold")
        assert {**called.value, "pid": 0} == {**RIGHT, "pid": 0}

    run(home, scenario)


def test_timers_stand_still_while_the_template_waits(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id = h.add(Sleeps, enable_memory_snapshot=True)
        assert (await h.prepare(function_id, "fork")).ok
        await asyncio.sleep(0.6)  # longer than the timer had, which is what is to be seen
        for strategy in ("fork", "restore"):
            assert (await h.prepare(function_id, strategy)).ok
            called = await h.call(function_id, "probe", strategy=strategy)
            assert called.value == [False, True, True], strategy

    run(home, scenario)


class GivenByAHandler:
    """What handlers at fork do with the loop is done to one that goes on already."""

    async def load(self) -> None:
        self.loop = asyncio.get_running_loop()
        os.register_at_fork(after_in_child=self.begin)
        # Libraries do so, of loops that do not work in children.
        os.register_at_fork(after_in_child=lambda: asyncio.set_event_loop(None))

    def begin(self) -> None:
        self.timer = self.loop.call_later(3600, print)
        self.due = self.timer.when()
        self.given = self.loop.run_until_complete(asyncio.sleep(0, "in the handler"))

    async def probe(self) -> list[Any]:
        one_loop = asyncio.get_running_loop() is self.loop
        return [one_loop, self.given, self.timer.when() == self.due]


def test_what_a_handler_at_fork_gives_the_loop_is_due_from_then_on(home: Path) -> None:
    for kind, several in copies.say(home, GivenByAHandler, "probe").items():
        for one in several:
            assert one == [True, "in the handler", True], kind


class Connected:
    async def load(self) -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        _reader, writer = await asyncio.open_connection(host, port)
        writer.close()  # only begun: it is closed before the template parks
        server.close()

    def probe(self) -> str:
        return "fine"


class Listening:
    async def load(self) -> None:
        self.server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)

    async def probe(self) -> bool:
        return self.server.is_serving()


def test_connections_that_are_being_closed_do_not_keep_it_from_being_copied_open_ones_do(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        closed = h.add(Connected, enable_memory_snapshot=True)
        for strategy in ("fork", "restore"):
            prepared = await h.prepare(closed, strategy)
            assert prepared.ok, prepared.reason
            assert (await h.call(closed, "probe", strategy=strategy)).value == "fine"
        serving = h.add(Listening, enable_memory_snapshot=True)
        prepared = await h.prepare(serving, "restore")
        assert not prepared.ok and "TCP socket" in prepared.reason
        assert (await h.call(serving, "probe")).value is True

    run(home, scenario)


class OnUvloop:
    """Its loop is not asyncio's own."""

    def __new__(cls) -> OnUvloop:
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        return super().__new__(cls)

    async def load(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.task = asyncio.ensure_future(asyncio.sleep(3600))
        await asyncio.to_thread(time.sleep, 0)

    async def probe(self) -> list[Any]:
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(time.sleep, 0)
        return [type(loop).__module__, loop is self.loop, self.loop.is_closed()]


def test_a_loop_that_is_not_asyncios_own_is_closed_and_copies_have_new_ones_of_its_kind(
    home: Path,
) -> None:
    said = copies.say(home, OnUvloop, "probe")
    assert set(said) >= {"fork", "restore", "fork of a restored template"}
    for one in copies.all_of(said):
        assert one == ["uvloop", False, True]
