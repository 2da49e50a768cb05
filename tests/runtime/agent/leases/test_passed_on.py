"""Requests of programs in images: framed at one end, passed on at the other."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rekindle import paths
from rekindle.exception import AuthError, Error, InternalFailure, InvalidError, NotFoundError
from rekindle.runtime.agent.inputs.blobs import Blobs
from rekindle.runtime.agent.leases.passed_on import PassedOn
from rekindle.runtime.agent.runners.listener import UnixListener
from rekindle.runtime.agent.uplink import LostError
from rekindle.sdk.connection.framed import FramedTransport
from rekindle.sdk.connection.retrying import BrokenError
from rekindle.wire import passed_on as passed_on_room
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.frame_streams import read_frame
from rekindle.wire.frames import pack_frame


@dataclass
class Controller:
    """Answers what is passed on."""

    token: str = "right"
    away: bool = False
    ended: list[str] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, message: pb.AgentMessage, *, more: bool = False) -> None:
        raise AssertionError(message)

    def lines_wait(self) -> bool:
        raise NotImplementedError

    async def fetch(self, function_id: str) -> pb.FetchFunctionReply:
        raise AssertionError(function_id)

    async def fetch_secrets(self, function_id: str) -> dict[str, str]:
        raise AssertionError(function_id)

    async def pass_on(self, method: str, message: bytes, token: str) -> AsyncGenerator[bytes, None]:
        if token != self.token:
            raise AuthError("the token is wrong")
        if method == "Hello":
            yield pb.HelloReply(agents=1).SerializeToString()
        elif self.away:
            raise LostError
        elif method == "GetCall":
            asked = pb.GetCallRequest.FromString(message).call_id
            if asked == "none":
                raise NotFoundError("no call none")
            yield pb.CallInfo(call_id=asked).SerializeToString()
        elif method == "Logs":
            try:
                for seq in range(3):
                    yield pb.LogLine(seq=seq).SerializeToString()
                await self.release.wait()
            finally:
                self.ended.append(method)
        else:
            raise InvalidError(f"there is no request {method!r}")


Use = Callable[[Controller, FramedTransport, Path], Awaitable[None]]


def serve(tmp_path: Path, use: Use, token: str = "right") -> None:
    async def main() -> None:
        controller, blobs = Controller(), Blobs(tmp_path)
        blobs.welcomed(pb.Welcome(instance_id="in-0123456789abcdef"))
        passed_on = PassedOn(controller, blobs)

        def take(sock: socket.socket, hello: dict[str, Any]) -> bool:
            passed_on.take(sock, hello["token"])
            return True

        listener = UnixListener(paths.direct_socket(tmp_path), take)
        listener.open()
        transport = FramedTransport(tmp_path, token)
        try:
            async with asyncio.timeout(30):
                await use(controller, transport, tmp_path)
        finally:
            await transport.close()
            await listener.close()
            await passed_on.close()

    asyncio.run(main())


def test_replies_and_errors_come_back_as_the_controller_means_them(tmp_path: Path) -> None:
    async def use(_controller: Controller, transport: FramedTransport, _path: Path) -> None:
        async def ask(call_id: str) -> str:
            request = pb.GetCallRequest(call_id=call_id)
            found: str = (await transport.one("GetCall", request, pb.CallInfo)).call_id
            return found

        asked = [f"fc-{number}" for number in range(20)]
        assert await asyncio.gather(*map(ask, asked)) == asked
        with pytest.raises(NotFoundError, match="no call none"):
            await ask("none")
        with pytest.raises(InvalidError, match="NoSuch"):
            await transport.one("NoSuch", pb.HelloRequest(), pb.HelloReply)

    serve(tmp_path, use)


def test_a_stream_ends_at_the_controller_when_its_reader_is_gone(tmp_path: Path) -> None:
    async def use(controller: Controller, transport: FramedTransport, _path: Path) -> None:
        lines = transport.many("Logs", pb.LogsRequest(), pb.LogLine)
        assert [(await anext(lines)).seq for _ in range(3)] == [0, 1, 2]
        assert controller.ended == []
        await lines.aclose()  # type: ignore[attr-defined]
        while not controller.ended:
            await asyncio.sleep(0)
        # And when its whole program is.
        lines = transport.many("Logs", pb.LogsRequest(), pb.LogLine)
        await anext(lines)
        await transport.close()
        while len(controller.ended) < 2:
            await asyncio.sleep(0)
        with pytest.raises(BrokenError):
            while True:
                await anext(lines)

    serve(tmp_path, use)


def test_a_controller_that_is_away_is_told_apart_and_the_connection_serves_on(
    tmp_path: Path,
) -> None:
    async def use(controller: Controller, transport: FramedTransport, _path: Path) -> None:
        request = pb.GetCallRequest(call_id="fc-1")
        controller.away = True
        with pytest.raises(BrokenError):
            await transport.one("GetCall", request, pb.CallInfo)
        controller.away = False
        assert (await transport.one("GetCall", request, pb.CallInfo)).call_id == "fc-1"

    serve(tmp_path, use)


def test_a_token_that_the_controller_does_not_know_gets_neither_requests_nor_blobs(
    tmp_path: Path,
) -> None:
    async def use(_controller: Controller, transport: FramedTransport, _path: Path) -> None:
        with pytest.raises(AuthError, match="wrong"):
            await transport.one("GetCall", pb.GetCallRequest(call_id="fc-1"), pb.CallInfo)
        with pytest.raises(AuthError, match="wrong"):
            await transport.offload("file:///blobs", 10).get("fc-1/0-0000000000000000-1-00000000")

    serve(tmp_path, use, token="of another")


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (passed_on_room.frame(1, method="Logs"), "two requests have the number 1"),
        (pack_frame({}).replace(b"{}", b"[]"), "not understood"),
    ],
)
def test_a_program_that_uses_a_number_twice_or_is_not_understood_is_told_and_all_of_it_ends(
    tmp_path: Path, sent: bytes, why: str
) -> None:
    async def use(controller: Controller, _transport: FramedTransport, path: Path) -> None:
        reader, writer = await asyncio.open_unix_connection(str(paths.direct_socket(path)))
        writer.write(pack_frame({"requests": True, "token": "right"}))
        writer.write(passed_on_room.frame(1, method="Logs"))
        for _ in range(3):  # it is under way
            await read_frame(reader, 1 << 20)
        writer.write(sent)
        header, _body = await read_frame(reader, 1 << 20)
        assert header["id"] == passed_on_room.ALL
        with pytest.raises(InvalidError, match=why):
            raise passed_on_room.error_in(header) or AssertionError(header)
        assert await reader.read() == b""
        assert controller.ended == ["Logs"]
        writer.close()

    serve(tmp_path, use)


@pytest.mark.parametrize("sent", [pack_frame({}).replace(b"{}", b"[]"), pack_frame({"end": True})])
def test_who_waits_for_an_agent_that_is_not_understood_is_told_and_hangs_up(
    tmp_path: Path, sent: bytes
) -> None:
    async def main() -> None:
        hung_up = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(sent)
            await reader.read()
            writer.close()
            hung_up.set()

        server = await asyncio.start_unix_server(answer, str(paths.direct_socket(tmp_path)))
        transport = FramedTransport(tmp_path, "right")
        async with asyncio.timeout(30):
            with pytest.raises(InternalFailure, match="not understood"):
                await transport.one("Hello", pb.HelloRequest(), pb.HelloReply)
            await hung_up.wait()
        await transport.close()
        server.close()

    asyncio.run(main())


def test_blobs_are_put_and_got_by_the_agent_and_checked(tmp_path: Path) -> None:
    async def use(_controller: Controller, transport: FramedTransport, path: Path) -> None:
        data = os.urandom(5 << 20)
        store = transport.offload("file:///not/seen/here", 10)
        key = await store.put("fc-1", 0, data)
        assert (path / "blobs" / key).read_bytes() == data
        assert await store.get(key) == data
        (path / "blobs" / key).write_bytes(data[:-1])
        with pytest.raises(InternalFailure, match="truncated"):
            await store.get(key)
        with pytest.raises(InvalidError, match="not the key"):
            await store.get("../../etc/passwd")
        with pytest.raises(InvalidError, match="is not that of"):
            await transport.blob({"put": key}, data[:-1])

    serve(tmp_path, use)


def test_what_hangs_up_hangs_up_a_connection_that_is_just_being_opened(tmp_path: Path) -> None:
    async def use(_controller: Controller, transport: FramedTransport, _path: Path) -> None:
        asking = asyncio.create_task(transport.one("Hello", pb.HelloRequest(), pb.HelloReply))
        while transport._opening is None:
            await asyncio.sleep(0)
        opening = transport._opening
        assert not opening.done()
        await transport.close()
        with pytest.raises(BrokenError):
            await asking
        assert opening.result().over

    serve(tmp_path, use)


def test_no_agent_is_a_lost_connection_until_there_is_one(tmp_path: Path) -> None:
    async def main() -> None:
        transport = FramedTransport(tmp_path, "right")
        for _ in range(2):
            with pytest.raises(BrokenError):
                await transport.one("Hello", pb.HelloRequest(), pb.HelloReply)
        with pytest.raises(Error, match="gone"):
            await transport.blob({"get": "key"})

    asyncio.run(main())
