"""Packets to a process that does not read them just now."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile

import pytest

from rekindle.runtime.isolation.packets import PacketSender
from tests import descriptors

COUNT = 100


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    theirs.setblocking(False)
    return ours, theirs


def packet(number: int) -> bytes:
    return f"{number} ".encode() + bytes(2000)


def test_what_there_is_no_room_for_comes_later_whole_and_in_order_with_its_opened() -> None:
    async def scenario() -> None:
        before = descriptors.opened()
        ours, theirs = pair()
        with ours, theirs, tempfile.TemporaryFile() as file:
            sender = PacketSender(ours)
            for number in range(COUNT):
                sender.send(packet(number), [file.fileno()] if number % 3 == 0 else [])
            async with asyncio.timeout(60):
                for number in range(COUNT):
                    while True:
                        try:
                            data, fds, _flags, _address = socket.recv_fds(theirs, 4096, 1)
                            break
                        except BlockingIOError:
                            await asyncio.sleep(0)
                    assert data == packet(number)
                    assert len(fds) == (number % 3 == 0)
                    for fd in fds:
                        os.close(fd)
            assert not asyncio.get_running_loop().remove_writer(ours)
        assert not descriptors.newly_open(before)

    asyncio.run(scenario())


def test_what_was_not_sent_goes_with_the_process_that_it_was_for() -> None:
    async def scenario() -> None:
        before = descriptors.opened()
        ours, theirs = pair()
        with ours, tempfile.TemporaryFile() as file:
            sender = PacketSender(ours)
            with theirs:
                for number in range(COUNT):
                    sender.send(packet(number), [file.fileno()])
                assert len(descriptors.since(before)) > 10
            async with asyncio.timeout(60):
                while len(descriptors.since(before)) > 2:
                    await asyncio.sleep(0)
            with pytest.raises(OSError, match="Broken pipe"):
                sender.send(b"more")
        assert not descriptors.newly_open(before)

    asyncio.run(scenario())
