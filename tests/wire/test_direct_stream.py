"""Items on their way over a real socket pair: how far a generator gets ahead, and who ends it."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from rekindle.wire import direct_frames as wire
from rekindle.wire.direct_stream import AHEAD_BYTES, ItemReader, ItemWriter, ReaderGoneError
from rekindle.wire.shared import INLINE_BYTES, Packed, pack, unpack

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    client, runner = socket.socketpair()
    with client, runner:
        yield client, runner


class Generator:
    """Sends values on a thread of its own, as a runner does."""

    def __init__(self, sock: socket.socket, values: list[Any], *, loop: bool = False) -> None:
        self.writer = ItemWriter(sock, (1, 2))
        self.gone = False
        self._sock, self._values = sock, values
        run = (lambda: asyncio.run(self._run_async())) if loop else self._run
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for value in self._values:
                self.writer.send(pack(value), 3)
            wire.send_reply(self._sock, wire.OK, (1, 2, 3), Packed(b""), printed=False)
        except ReaderGoneError:
            self.gone = True

    async def _run_async(self) -> None:
        try:
            for value in self._values:
                await self.writer.send_aio(pack(value), 3)
            wire.send_reply(self._sock, wire.OK, (1, 2, 3), Packed(b""), printed=False)
        except ReaderGoneError:
            self.gone = True


def taken(reader: ItemReader) -> Iterator[Any]:
    """What a caller gets, until the reply."""
    while True:
        if reader.has_item:
            yield unpack(*reader.take_item())
        elif (reply := reader.take_reply()) is None:
            assert not reader.ended
            reader.read()
        else:
            assert (reply.status, reply.received_ns) == (wire.OK, 1)
            return


@pytest.mark.parametrize("loop", [False, True], ids=["thread", "loop"])
def test_items_of_all_sizes_arrive_in_order_each_once(ends: Ends, loop: bool) -> None:
    client, runner = ends
    sizes = [0, 1, 70_000, INLINE_BYTES + 1, 3, 150_000, 2 << 20, 5] * 4
    values = [i.to_bytes(8, "big") + os.urandom(size) for i, size in enumerate(sizes)]
    values += [str(i) for i in range(3000)]
    generator = Generator(runner, values, loop=loop)
    reader = ItemReader(client)
    assert list(taken(reader)) == values
    generator.thread.join()
    generator.writer.close()
    reader.close()


@pytest.mark.parametrize("loop", [False, True], ids=["thread", "loop"])
def test_a_generator_is_no_more_than_65_items_ahead_of_its_reader(ends: Ends, loop: bool) -> None:
    client, runner = ends
    generator = Generator(runner, list(range(10_000)), loop=loop)
    reader = ItemReader(client)
    for at, value in enumerate(taken(reader)):
        assert value == at
        # It counts once it has sent, and what it sends next may be here before it does.
        assert generator.writer.count <= at + 1 + 65
        if at == 1000:
            break
    client.close()
    generator.thread.join()
    assert generator.gone
    generator.writer.close()
    reader.close()


def test_of_what_lies_in_memory_files_one_is_on_its_way_at_a_time(ends: Ends) -> None:
    client, runner = ends
    generator = Generator(runner, [bytes(1 << 20)] * 50)
    reader = ItemReader(client)
    for at, _value in enumerate(taken(reader)):
        assert generator.writer.count <= at + 2
    generator.thread.join()
    generator.writer.close()
    reader.close()


def test_a_runner_that_is_being_taken_back_is_told_what_was_taken_all_the_same(
    ends: Ends,
) -> None:
    client, runner = ends
    # As its agent does; a client's words would not reach it any more.
    runner.shutdown(socket.SHUT_RD)
    generator = Generator(runner, list(range(1000)))
    reader = ItemReader(client)
    assert list(taken(reader)) == list(range(1000))
    generator.thread.join()
    assert not generator.gone
    generator.writer.close()
    reader.close()


@pytest.mark.parametrize("loop", [False, True], ids=["thread", "loop"])
def test_who_waits_for_a_reader_that_goes_is_woken(ends: Ends, loop: bool) -> None:
    client, runner = ends
    generator = Generator(runner, [bytes(AHEAD_BYTES + 1)] * 2, loop=loop)
    reader = ItemReader(client)
    while not reader.has_item:
        reader.read()
    client.shutdown(socket.SHUT_RDWR)
    generator.thread.join()
    assert generator.gone
    generator.writer.close()
    reader.close()


def test_the_times_come_with_the_first_item(ends: Ends) -> None:
    client, runner = ends
    writer, reader = ItemWriter(runner, (1, 2)), ItemReader(client)
    assert reader.times == (0, 0, 0)
    writer.send(pack("a"), 3)
    writer.send(pack("b"), 4)
    reader.read()
    assert reader.times == (1, 2, 3)
    assert [unpack(*reader.take_item()) for _ in range(2)] == ["a", "b"]
    runner.close()
    reader.read()
    assert reader.ended and not reader.has_item and reader.take_reply() is None
    writer.close()
    reader.close()
