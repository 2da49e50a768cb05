"""A channel to a process that does not read for a while."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from rekindle.runtime.agent import deadlines
from rekindle.runtime.agent.runners.channel import Channel
from rekindle.wire.frames import FrameError, FrameSocket, Header
from tests import descriptors

FRAMES = 40


async def full_channel(fd: int) -> tuple[Channel, socket.socket]:
    """More frames than its socket has room for, each second one with a descriptor."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    channel = Channel(ours, os.getpid())
    channel.open()
    for at in range(FRAMES):
        if at % 2:
            channel.send({"at": at}, b"x" * 500)
        else:
            channel.send_with_fds({"at": at, "pad": "x" * 500}, [fd])
    return channel, theirs


async def two_turns() -> None:
    """What the loop can be told of already, and what was put off to its next turn, is done."""
    for _ in range(2):
        await asyncio.sleep(0)


def test_frames_with_descriptors_wait_for_room_and_come_whole_and_in_order() -> None:
    async def scenario() -> None:
        read, write = os.pipe()
        channel, theirs = await full_channel(write)
        os.close(write)  # the sender's own; what is queued has a copy
        reader = FrameSocket(theirs)
        for at in range(FRAMES):
            header, _body, fds = await asyncio.to_thread(reader.receive)
            assert header["at"] == at and len(fds) == (at + 1) % 2
            for fd in fds:
                os.write(fd, b"!")
                os.close(fd)
        assert os.read(read, 100) == b"!" * (FRAMES // 2)
        assert os.read(read, 1) == b"", "no copy is left open"
        os.close(read)
        channel.close()
        reader.close()

    asyncio.run(scenario())


def test_what_is_said_while_a_channel_rests_is_taken_in_after_that_and_orders_go_out() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        channel, process = Channel(ours, os.getpid()), FrameSocket(theirs)
        channel.open()
        channel.rest(0.02)
        process.send({"at": 1})
        channel.send({"at": 2})
        await two_turns()
        assert not channel._arrived
        assert process.receive()[0] == {"at": 2}
        assert (await channel.receive())[0] == {"at": 1}
        process.send({"at": 3})
        assert (await channel.receive())[0] == {"at": 3}
        channel.rest(0.02)
        process.close()
        with pytest.raises(FrameError):
            await channel.receive()

    asyncio.run(scenario())


def test_a_rest_that_is_ended_is_over_and_one_that_is_not_on_ends_as_well() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        channel, process = Channel(ours, os.getpid()), FrameSocket(theirs)
        channel.open()
        channel.end_rest()
        channel.rest(600)
        process.send({"at": 1})
        await two_turns()
        assert not channel._arrived
        channel.end_rest()
        assert not deadlines.here()._all
        assert (await channel.receive())[0] == {"at": 1}
        channel.rest(600)
        channel.close()
        channel.end_rest()
        theirs.close()

    asyncio.run(scenario())


def test_a_channel_that_is_closed_while_it_rests_is_not_watched_again() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        channel = Channel(ours, os.getpid())
        channel.open()
        channel.rest(600)
        assert deadlines.here()._all
        channel.close()
        assert not deadlines.here()._all and theirs.recv(1) == b""
        theirs.close()

    asyncio.run(scenario())


def test_a_process_that_ends_without_reading_leaves_no_descriptor_open() -> None:
    async def scenario() -> None:
        before = descriptors.opened()
        read, write = os.pipe()
        channel, theirs = await full_channel(write)
        theirs.close()
        with pytest.raises(FrameError):
            await channel.receive()
        with pytest.raises(FrameError):
            channel.send_with_fds({}, [write])
        os.close(write)
        os.close(read)
        assert not descriptors.newly_open(before)

    asyncio.run(scenario())


def test_what_waits_on_a_closed_channel_is_dropped_when_its_process_ends() -> None:
    async def scenario() -> None:
        before = descriptors.opened()
        read, write = os.pipe()
        channel, theirs = await full_channel(write)
        channel.close()  # with frames that there was no room for
        theirs.close()
        await two_turns()
        os.close(write)
        os.close(read)
        assert not descriptors.newly_open(before), "the socket, or a copy in the queue, is open"

    asyncio.run(scenario())


def test_a_channel_that_its_last_frame_closes_is_not_watched_any_more() -> None:
    async def scenario() -> None:
        before = descriptors.opened()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        channel = Channel(ours, os.getpid())
        channel.open()
        took: list[str] = []

        def take(header: Header, _body: bytes) -> None:
            took.append(header["op"])
            channel.close()

        channel.subscribe(take, lambda: took.append("the end, after it was closed"))
        FrameSocket(theirs).send({"op": "last"})
        theirs.close()
        channel.send({"op": "too late"})  # fails: what was said before is read at once
        await two_turns()
        assert took == ["last"]
        assert not descriptors.newly_open(before), "its descriptor is watched"

    asyncio.run(scenario())


def test_a_frame_that_does_not_come_in_time_is_not_waited_for() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        channel = Channel(ours, os.getpid())
        channel.open()
        with pytest.raises(TimeoutError):
            await channel.receive(0.001)
        FrameSocket(theirs).send({"op": "late"})
        assert await channel.receive(60.0) == ({"op": "late"}, b""), "it is there all the same"
        theirs.close()
        channel.close()

    asyncio.run(scenario())
