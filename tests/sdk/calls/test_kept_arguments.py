"""What a program changes after a call, while it waits: the function sees what was there before."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import numpy as np
import pytest

from rekindle.exception import SerializationError
from rekindle.wire import direct_frames as wire
from tests.e2e.harness import wait_until
from tests.sdk.fake_lender import Lender, add, app, hang_up

SMALL, LARGE, SHARED = 1000, 100_000, 1_000_000


async def _await(call: Awaitable[Any]) -> Any:
    return await call


@contextlib.asynccontextmanager
async def begun(*args: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """A call that waits: whatever it sends from here on, it sends after the body."""
    calling = asyncio.create_task(_await(add.remote.aio(*args)))
    await asyncio.sleep(0)
    assert not calling.done()
    yield calling


def know_agent(lender: Lender) -> None:
    """The app's client may ask its agent by itself."""
    lender.all_ask = threading.Barrier(1)
    made = app.running
    assert made is not None
    made.client.node_tokens = dict.fromkeys(made.function_ids.values(), "token")


def memory_files() -> int:
    """Descriptors and mappings of memory files in this process."""
    with open("/proc/self/maps") as areas:
        found = sum("rekindle-value" in one for one in areas)
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found += "rekindle-value" in os.readlink(f"/proc/self/fd/{fd}")
    return found


def lose(sock: socket.socket, call: wire.CallFrame) -> None:
    if call.fd >= 0:
        os.close(call.fd)
    hang_up(sock, call)


@pytest.mark.parametrize("size", [SMALL, LARGE, SHARED])
@pytest.mark.parametrize("kind", ["bytearray", "array", "bytes"])
@pytest.mark.parametrize(
    "way",
    ["by its agent", "by the controller", "refused", "lost by its agent", "lost", "lost when idle"],
)
def test_arguments_are_those_of_the_moment_of_the_call(
    lender: Lender, way: str, kind: str, size: int
) -> None:
    part: Any = {"bytearray": bytearray, "array": np.zeros, "bytes": bytes}[kind](size)
    value = [part, "before"]

    async def call_and_change() -> Any:
        async with begun(value, []) as calling:
            value[1] = "after"
            if kind != "bytes":
                part[0] = 1
        return await calling

    with app.run():
        if way == "lost when idle":
            assert add.remote(1) == 1
        if way.startswith("lost"):
            lender.serve = lose
        if way.endswith("by its agent"):
            know_agent(lender)
        if way == "refused":
            lender.refusal = "no runner is idle"
        seen, when = asyncio.run(call_and_change())
        assert len(lender.submitted) == (way == "refused" or way.startswith("lost"))
    assert type(seen) is type(part) and when == "before"
    assert len(seen) == size and not any(seen)
    if kind == "array":
        seen[0] = 1  # it can be written to, whichever way it took
    del seen
    wait_until(lambda: not memory_files(), "the lender, in this process, to let go of them")


@pytest.mark.parametrize("size", [SMALL, LARGE, SHARED])
@pytest.mark.parametrize("held", [False, True])
def test_what_another_thread_changes_while_one_waits_for_a_runner_that_is_lost_is_not_sent_again(
    lender: Lender, held: bool, size: int
) -> None:
    value: list[Any] = [bytearray(size), "before"]

    def change_and_lose(sock: socket.socket, call: wire.CallFrame) -> None:
        value[0][0], value[1] = 1, "after"
        lose(sock, call)

    with app.run():
        if held:
            assert add.remote(1) == 1
        lender.serve = change_and_lose
        seen, when = add.remote(value, [])
        assert len(lender.submitted) == 1
    assert when == "before" and seen == bytearray(size)
    wait_until(lambda: not memory_files(), "the lender, in this process, to let go of them")


class Counted:
    """Counts how often it is pickled."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pickled = 0

    def __reduce__(self) -> tuple[Any, ...]:
        self.pickled += 1
        return bytearray, (b"x" * self.size,)


@pytest.mark.parametrize("size", [SMALL, LARGE, SHARED])
@pytest.mark.parametrize(
    ("caller", "way"),
    [
        *(("blocking", way) for way in ("by its agent", "refused", "lost")),
        *(("aio", way) for way in ("by its agent", "refused", "lost", "not accepted")),
    ],
)
def test_arguments_are_pickled_once_however_often_they_are_sent(
    lender: Lender, caller: str, way: str, size: int
) -> None:
    value = Counted(size)
    with app.run():
        if way == "by its agent":
            know_agent(lender)
        elif way == "refused":
            lender.refusal = "no runner is idle"
        elif way == "lost":
            lender.serve = lose
        else:
            assert add.remote(1) == 1
            for one in lender.connections:
                one.shutdown(socket.SHUT_RD)
        if caller == "blocking":
            got = add.remote(value, b"")
        else:
            got = asyncio.run(_await(add.remote.aio(value, b"")))
        assert got == b"x" * size and value.pickled == 1
    del got
    wait_until(lambda: not memory_files(), "the lender, in this process, to let go of them")


def test_what_cannot_travel_asks_for_no_runner(lender: Lender) -> None:
    with app.run():
        with pytest.raises(SerializationError, match=r"args\[0\]\[1\] is a _thread.lock"):
            add.remote([bytearray(SHARED), threading.Lock()])
        with pytest.raises(SerializationError, match=r"args\[0\]\[1\] is a _thread.lock"):
            asyncio.run(_await(add.remote.aio([bytearray(SHARED), threading.Lock()])))
        wait_until(lambda: not memory_files(), "the lender, in this process, to let go of them")
    assert not lender.lease_requests and not lender.submitted


def test_a_call_that_is_cancelled_before_it_has_a_runner_lets_its_arguments_go(
    lender: Lender,
) -> None:
    async def scenario() -> int:
        async with begun(bytearray(SHARED), b"") as calling:
            held = memory_files()
            calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        return held

    with app.run():
        know_agent(lender)
        lender.all_ask = threading.Barrier(2)  # it has no answer yet
        assert asyncio.run(scenario()) == 1
        wait_until(lambda: not memory_files(), "the lender, in this process, to let go of them")
        lender.all_ask.wait(60)


def test_a_forked_child_has_none_of_what_its_parent_is_about_to_send(lender: Lender) -> None:
    def status_of_child() -> int:
        if (pid := os.fork()) == 0:
            os._exit(memory_files())
        return os.waitpid(pid, 0)[1]

    async def scenario() -> tuple[int, Any]:
        async with begun(bytearray(SHARED), b"x") as calling:
            assert memory_files()
            status = status_of_child()
        return status, await calling

    with app.run():
        assert asyncio.run(scenario()) == (0, bytearray(SHARED) + b"x")
