"""Bytes in the order in which they were sent, also where the other side takes them late."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from rekindle.sdk.objects.aio_socket import AioSocket

LARGE = b"large" * (1 << 20)


class Ends:
    """One side is an AioSocket, the other a plain socket that is read by hand."""

    def __init__(self) -> None:
        ours, self.other = socket.socketpair()
        ours.setblocking(False)
        self.came = bytearray()
        self.ended: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
        self.socket = AioSocket(ours, self.came.extend, self._ended)

    def _ended(self, error: OSError | None) -> None:
        self.socket.close()
        self.ended.set_result(error)


def test_what_is_sent_while_the_other_side_takes_nothing_follows_in_its_order() -> None:
    async def scenario() -> None:
        ends = Ends()
        for piece in (b"first", LARGE, b"last"):
            ends.socket.send(piece)
        wanted = len(b"first" + LARGE + b"last")
        ends.other.setblocking(False)
        got = bytearray()
        async with asyncio.timeout(60):
            while len(got) < wanted:
                got += await asyncio.get_running_loop().sock_recv(ends.other, 1 << 16)
        assert bytes(got) == b"first" + LARGE + b"last"
        ends.socket.send(b"again")
        async with asyncio.timeout(60):
            assert await asyncio.get_running_loop().sock_recv(ends.other, 100) == b"again"
        ends.other.close()
        async with asyncio.timeout(60):
            await ends.ended

    asyncio.run(scenario())


def test_what_came_before_the_other_side_closed_is_received() -> None:
    async def scenario() -> None:
        ends = Ends()
        ends.other.sendall(b"goodbye")
        ends.other.close()
        async with asyncio.timeout(60):
            assert await ends.ended is None
        assert ends.came == b"goodbye"

    asyncio.run(scenario())


def test_sending_to_a_side_that_has_closed_is_an_error_that_ends_it() -> None:
    async def scenario() -> None:
        ends = Ends()
        ends.other.close()
        with pytest.raises(BrokenPipeError):
            ends.socket.send(b"too late")
        assert isinstance(ends.ended.result(), BrokenPipeError)

    asyncio.run(scenario())


@pytest.mark.parametrize("sends", [False, True])
def test_a_signal_s_exception_within_it_ends_it(sends: bool) -> None:
    """What went or came may be half dealt with: the next bytes would be taken for others."""

    class Interrupted(AioSocket):
        def _taken(self, data: bytes | memoryview) -> int:
            super()._taken(data)
            raise KeyboardInterrupt

    def interrupt(_data: bytes) -> None:
        raise KeyboardInterrupt

    why: list[OSError | None] = []

    def ended(error: OSError | None) -> None:
        why.append(error)
        made[0].close()

    made: list[AioSocket] = []

    async def scenario() -> None:
        ours, other = socket.socketpair()
        ours.setblocking(False)
        made.append((Interrupted if sends else AioSocket)(ours, interrupt, ended))
        with other:
            if sends:
                made[0].send(b"request")
            other.sendall(b"reply")
            async with asyncio.timeout(60):
                await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(scenario())
    assert len(why) == 1 and isinstance(why[0], OSError) and "KeyboardInterrupt" in str(why[0])


@pytest.mark.parametrize("closes", [False, True])
def test_it_is_closed_with_its_loop_and_before_that_where_it_is_told_so(closes: bool) -> None:
    loop = asyncio.new_event_loop()

    async def make() -> Ends:
        return Ends()

    ends = loop.run_until_complete(make())
    ends.other.settimeout(60)
    if closes:
        ends.socket.close()
        loop.run_until_complete(asyncio.sleep(0))
    else:
        loop.close()
    assert ends.other.recv(1) == b""
    loop.close()


def test_that_a_forked_child_lets_go_of_the_loop_does_not_end_the_connection() -> None:
    loop = asyncio.new_event_loop()

    async def make() -> Ends:
        return Ends()

    ends = loop.run_until_complete(make())
    if (pid := os.fork()) == 0:
        loop.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    ends.other.settimeout(60)
    ends.socket.send(b"still there")
    assert ends.other.recv(100) == b"still there"
    ends.socket.close()
    loop.close()
    ends.other.close()
