"""What a template is ordered, and when."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from rekindle.exception import StartError
from rekindle.linux.plain_descriptors import close_all
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.runtime.agent.starts import template as templates
from rekindle.runtime.agent.starts.template import LiveTemplate
from rekindle.runtime.isolation.sandbox import Sandbox
from rekindle.wire.frames import FrameSocket, Header
from tests import descriptors, exhausted


class PlayedTemplate:
    """A live template, and the end at which its process would listen."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        channel = Channel(ours, 0)
        channel.open(takes_fds=True)
        self.sock, self.frames = theirs, FrameSocket(theirs)
        inspection: dict[str, list[str]] = {"fork_unsafe": [], "dump_unsafe": [], "threads": []}
        exit_status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        sandbox = cast(Sandbox, None)
        self.live = LiveTemplate("te-1", sandbox, channel, exit_status, inspection, {})

    def orders(self) -> list[Header]:
        """What it was ordered and has not read."""
        self.sock.setblocking(False)
        found: list[Header] = []
        while True:
            try:
                order, _body, fds = self.frames.receive()
            except BlockingIOError:
                return found
            close_all(fds)
            found.append(order | {"descriptors": len(fds)})


def run(scenario: Callable[[PlayedTemplate], Coroutine[Any, Any, None]]) -> None:
    async def all_of_it() -> None:
        template = PlayedTemplate()
        try:
            await scenario(template)
        finally:
            template.live.channel.close()
            template.frames.close()

    asyncio.run(all_of_it())


def test_the_first_child_is_ordered_before_its_start_is_written_and_the_next_ones_together() -> (
    None
):
    async def scenario(template: PlayedTemplate) -> None:
        for _turn in range(2):
            first, *others = [template.live.fork() for _ in range(3)]
            [order] = template.orders()
            assert order["names"] == [first.name] and order["descriptors"] == 1
            await asyncio.sleep(0)
            [order] = template.orders()
            assert order["names"] == [one.name for one in others] and order["descriptors"] == 2
            await asyncio.sleep(0)
            assert not template.orders()

    run(scenario)


def test_spares_of_one_turn_are_ordered_together() -> None:
    async def scenario(template: PlayedTemplate) -> None:
        spares = [template.live.fork(spare=True) for _ in range(2)]
        assert not template.orders()
        await asyncio.sleep(0)
        [order] = template.orders()
        assert order["names"] == [one.name for one in spares] and order["spare"]

    run(scenario)


def test_a_child_that_is_not_forked_in_time_has_failed_and_the_next_one_has_its_own_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(templates, "FORK_TIMEOUT_S", 0.01)

    async def scenario(template: PlayedTemplate) -> None:
        for _time in range(2):
            child = template.live.fork()
            with pytest.raises(StartError, match="te-1 did not fork"):
                await child.forked
            assert await child.exit_status == -9

    run(scenario)


@contextmanager
def processes(count: int) -> Iterator[list[tuple[subprocess.Popen[bytes], int]]]:
    """Some that are to be the children, and a pidfd of each."""
    made: list[tuple[subprocess.Popen[bytes], int]] = []
    try:
        for _ in range(count):
            process = subprocess.Popen(["/bin/sleep", "1000"])
            made.append((process, os.pidfd_open(process.pid)))
        yield made
    finally:
        for process, pidfd in made:
            process.kill()
            process.wait()
            os.close(pidfd)


@pytest.mark.parametrize("left", range(6))
def test_children_that_the_agent_has_no_descriptor_for_fail_and_none_gets_another_ones(
    left: int,
) -> None:
    """A pidfd takes one, and another is needed for a moment to read its number. A start whose child
    is neither there nor has failed would wait for ever, and hold its place."""

    async def scenario(template: PlayedTemplate) -> None:
        template.live.listen()
        children = [template.live.fork() for _ in range(3)]
        await asyncio.sleep(0)
        template.orders()
        before = descriptors.opened()
        with processes(4) as made:
            pidfds = [pidfd for _process, pidfd in made]
            named = [[50 + at, child.name] for at, child in enumerate(children)]
            with exhausted.descriptors(left):
                template.frames.send_with_fds({"op": "forked", "children": named}, pidfds[:3])
                waits = asyncio.gather(*(one.forked for one in children), return_exceptions=True)
                ends = await asyncio.wait_for(waits, 30)
            for at, (one, end, (process, _)) in enumerate(
                zip(children, ends, made[:3], strict=True)
            ):
                if end is None:
                    assert one.channel.pid == process.pid
                else:
                    assert isinstance(end, StartError)
                    assert at >= left or process.wait(30) == -9  # one without a number is ended
            there = ends.count(None)
            assert there == 3 if left >= 4 else there < 3 and (there == 0 or left >= 2)

            child = template.live.fork()
            template.orders()
            last, pidfd = made[3]
            template.frames.send_with_fds({"op": "forked", "children": [[60, child.name]]}, [pidfd])
            await child.forked
            assert child.channel.pid == last.pid
            child.kill()
            assert last.wait(30) == -9
            everyone = [[50 + at, 0] for at in range(3)] + [[60, 0]]
            template.frames.send({"op": "ended", "children": everyone})
            await child.exit_status
            for one in [*children, child]:
                one.channel.close()
        assert not descriptors.newly_open(before)
        assert len(before.items() - descriptors.opened().items()) >= 3

    run(scenario)


def test_a_copy_that_comes_after_it_was_given_up_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "FORK_TIMEOUT_S", 0.01)

    async def scenario(template: PlayedTemplate) -> None:
        template.live.channel.subscribe(template.live._take, template.live._ended)
        with pytest.raises(StartError, match="te-1 did not copy"):
            await template.live.copy()
        process = await asyncio.create_subprocess_exec("/bin/sleep", "99")
        pidfd = os.pidfd_open(process.pid)
        template.frames.send_with_fds({"op": "copied", "pid": process.pid}, [pidfd])
        os.close(pidfd)
        async with asyncio.timeout(60):
            assert await process.wait() == -9

    run(scenario)
