"""What a template is ordered, and when."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from rekindle.exception import StartError
from rekindle.linux.plain_descriptors import close_all
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.runtime.agent.starts import template as templates
from rekindle.runtime.agent.starts.template import LiveTemplate
from rekindle.runtime.isolation.sandbox import Sandbox
from rekindle.wire.frames import FrameSocket, Header


class PlayedTemplate:
    """A live template, and the end at which its process would listen."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        channel = Channel(ours, 0)
        channel.open(takes_fds=True)
        self.sock, self.frames = theirs, FrameSocket(theirs)
        inspection: dict[str, list[str]] = {"fork_unsafe": [], "dump_unsafe": [], "threads": []}
        self.live = LiveTemplate("te-1", cast(Sandbox, None), channel, inspection, {})

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
