"""Who connects to an agent's socket says who it is at once, later, in pieces, or never."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from rekindle.runtime.agent.runners import listener
from rekindle.runtime.agent.runners.listener import UnixListener
from rekindle.wire.frames import Header, pack_frame

HELLO = {"who": "a client of this test"}


class Listening:
    """An open listener, and who has said what."""

    def __init__(self, path: Path) -> None:
        self.said: asyncio.Queue[Header] = asyncio.Queue()
        self.socks: list[socket.socket] = []
        #: How many had said who they are when those of one moment had been taken in.
        self.after: list[int] = []
        then = lambda: self.after.append(self.said.qsize())  # noqa: E731
        self.listener = UnixListener(path, self._take, then)
        self.listener.open()

    def _take(self, sock: socket.socket, hello: Header) -> bool:
        self.socks.append(sock)
        self.said.put_nowait(hello)
        return True

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.listener.path))
        sock.setblocking(False)
        return sock

    async def close(self) -> None:
        await self.listener.close()
        for sock in self.socks:
            sock.close()


def run(tmp_path: Path, scenario: Callable[[Listening], Coroutine[Any, Any, None]]) -> None:
    async def all_of_it() -> None:
        listening = Listening(tmp_path / "socket")
        try:
            await scenario(listening)
        finally:
            await listening.close()

    asyncio.run(all_of_it())


async def accepted(listening: Listening) -> None:
    """Return when who has connected is waited for."""
    while not listening.listener._silent:
        await asyncio.sleep(0)


async def turns_of_the_loop() -> None:
    """A few: what has come is taken in."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_is_said_at_once_is_taken_in_and_what_follows_is_left(tmp_path: Path) -> None:
    async def scenario(listening: Listening) -> None:
        with listening.connect() as sock:
            sock.send(pack_frame(HELLO) + b"more")
            assert await listening.said.get() == HELLO
            assert listening.socks[0].recv(10) == b"more"

    run(tmp_path, scenario)


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_what_is_said_later_is_taken_in_whole_or_in_pieces(tmp_path: Path, pieces: int) -> None:
    async def scenario(listening: Listening) -> None:
        with listening.connect() as sock:
            await accepted(listening)
            frame = pack_frame(HELLO)
            size = -(-len(frame) // pieces)
            for at in range(0, len(frame), size):
                assert listening.said.empty()
                sock.send(frame[at : at + size])
                await turns_of_the_loop()  # which see this piece alone
            assert await listening.said.get() == HELLO

    run(tmp_path, scenario)


@pytest.mark.parametrize("begun", [b"", b"\0"])
def test_who_does_not_say_who_it_is_in_time_is_hung_up_on(
    tmp_path: Path, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HELLO_TIMEOUT_S", 0.01)

    async def scenario(listening: Listening) -> None:
        with listening.connect() as sock:
            sock.send(begun)
            assert await asyncio.get_running_loop().sock_recv(sock, 1) == b""
        assert listening.said.empty()

    run(tmp_path, scenario)


def test_who_goes_without_a_word_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario(listening: Listening) -> None:
        sock = listening.connect()
        await accepted(listening)
        sock.close()
        while listening.listener._silent:
            await asyncio.sleep(0)
        assert listening.said.empty()

    run(tmp_path, scenario)


def test_who_has_not_said_anything_yet_is_hung_up_on_at_the_end(tmp_path: Path) -> None:
    async def scenario(listening: Listening) -> None:
        with listening.connect() as sock:
            await accepted(listening)
            await listening.listener.close()
            assert await asyncio.get_running_loop().sock_recv(sock, 1) == b""

    run(tmp_path, scenario)


def test_what_is_to_follow_follows_once_all_of_one_moment_are_taken_in(tmp_path: Path) -> None:
    async def scenario(listening: Listening) -> None:
        with listening.connect() as one, listening.connect() as another:
            for sock in (one, another):
                sock.send(pack_frame(HELLO))
            while listening.said.qsize() < 2:
                await asyncio.sleep(0)
            assert listening.after == [2]
            with listening.connect() as late:
                await accepted(listening)
                late.send(pack_frame(HELLO))
                while listening.said.qsize() < 3:
                    await asyncio.sleep(0)
            assert listening.after[-1] == 3

    run(tmp_path, scenario)
