"""The relay of a forked child: started again when it could not be, ended when not understood."""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
import struct
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest

from rekindle.exception import InternalFailure, ServiceError
from rekindle.sdk.connection.relay import RelayStub
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.errors import from_rpc_error, from_status, is_connection_loss
from rekindle.wire.spec import FunctionSpec
from tests import exhausted
from tests.sdk.fake_controller import TOKEN, FakeController

LONG_S = 60
METADATA = (("authorization", f"Bearer {TOKEN}"),)
HOLD = pb.HoldAppRequest(app_id="ap-1")


def relay_to(controller: FakeController) -> RelayStub:
    return RelayStub(f"unix:{controller.directory}/controller.sock")


def relay_process() -> psutil.Process:
    """The newest that this process has started."""

    def is_one(child: psutil.Process) -> bool:
        try:
            return "rekindle.sdk.connection.relay" in child.cmdline()
        except psutil.NoSuchProcess:  # of a former test, a zombie or just reaped
            return False

    return max(filter(is_one, psutil.Process().children()), key=psutil.Process.create_time)


async def held(controller: FakeController, is_held: bool) -> None:
    """Return when the controller sees that somebody holds the app, or nobody does."""
    while (HOLD.app_id in controller.held) is not is_held:
        await asyncio.sleep(0.01)


def test_a_relay_that_could_not_be_started_is_started_by_the_next_call(tmp_path: Path) -> None:
    async def main() -> None:
        stub = RelayStub(f"unix:{tmp_path}/nobody.sock")
        with exhausted.descriptors(0), pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Hello(pb.HelloRequest(), ())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "Too many open files" in str(caught.value.details())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Hello(pb.HelloRequest(), ())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE  # it asked, and nobody is there
        assert "Too many open files" not in str(caught.value.details())
        assert stub._opening is not None and stub._pump is not None
        (await stub._opening).close()
        await stub._pump

    asyncio.run(main())


def framed(frame: object) -> bytes:
    data = pickle.dumps(frame)
    return struct.pack("!I", len(data)) + data


@pytest.mark.parametrize("sent", [struct.pack("!I", 2) + b"no", framed((1, "what")), framed(7)])
def test_a_relay_that_is_not_understood_is_ended_and_who_waits_is_told(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        stub = RelayStub("unix:nobody.sock")
        _, events = stub.begin()
        ours, theirs = socket.socketpair()
        theirs.sendall(sent)
        await stub._deliver(*await asyncio.open_connection(sock=ours))
        kind, code, why, metadata = events.get_nowait()
        assert (kind, code) == ("error", "INTERNAL") and "not understood" in why
        assert isinstance(from_status(grpc.StatusCode[code], why, metadata), InternalFailure)
        with theirs:
            theirs.settimeout(LONG_S)
            assert await asyncio.to_thread(theirs.recv, 1) == b""  # by this it ends

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert "the relay process is not understood" in caplog.text


def test_a_relay_that_does_not_understand_a_request_answers_and_serves_on(tmp_path: Path) -> None:
    async def main() -> None:
        stub = RelayStub(f"unix:{tmp_path}/nobody.sock")
        for method, data in (("Hello", b"\xff"), ("NoSuch", b"")):
            number, events = stub.begin()
            await stub.send((number, "call", method, (), data))
            kind, code, why, metadata = await events.get()
            assert (kind, code) == ("error", "INTERNAL") and method in why
            assert isinstance(from_status(grpc.StatusCode[code], why, metadata), InternalFailure)
            stub.finish(number)
        assert stub._opening is not None and stub._pump is not None
        (await stub._opening).close()
        await stub._pump

    asyncio.run(main())


@pytest.mark.parametrize("sent", [struct.pack("!I", 2) + b"no", framed(7)])
def test_a_relay_ends_by_what_it_does_not_understand(tmp_path: Path, sent: bytes) -> None:
    async def main() -> None:
        stub = RelayStub(f"unix:{tmp_path}/nobody.sock")
        number, events = stub.begin()
        await stub.send((number, "cancel"))  # which starts it
        assert stub._opening is not None and stub._pump is not None
        (await stub._opening).write(sent)
        assert (await events.get())[:2] == ("error", "UNAVAILABLE")
        await stub._pump

    asyncio.run(main())


def test_a_reply_that_is_not_understood_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        stub = RelayStub(f"unix:{tmp_path}/nobody.sock")
        sent: list[object] = []

        async def send(frame: tuple[Any, ...]) -> None:
            sent.append(frame)
            if frame[1] == "call":
                stub._calls[frame[0]].put_nowait(("reply", b"\xff"))

        monkeypatch.setattr(stub, "send", send)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Hello(pb.HelloRequest(), ())
        assert isinstance(from_rpc_error(caught.value), InternalFailure)
        assert sent[-1] == (1, "cancel")  # at the other end, too

    asyncio.run(main())


def test_what_a_child_waits_for_no_more_ends_at_the_controller(controller: FakeController) -> None:
    async def main() -> None:
        stub = relay_to(controller)
        holding = asyncio.ensure_future(anext(aiter(stub.HoldApp(HOLD, METADATA))))
        await held(controller, True)
        holding.cancel()
        await asyncio.wait([holding])
        await held(controller, False)
        assert relay_process().is_running()  # it serves on
        assert stub._opening is not None and stub._pump is not None
        (await stub._opening).close()
        await stub._pump

    asyncio.run(main())


def test_a_relay_that_was_killed_is_replaced_and_ends_with_its_child(
    controller: FakeController,
) -> None:
    async def main() -> None:
        stub = relay_to(controller)
        assert (await stub.Hello(pb.HelloRequest(), METADATA)).protocol
        assert stub._pump is not None
        first = relay_process()
        first.kill()
        await stub._pump
        first.wait(LONG_S)
        holding = asyncio.ensure_future(anext(aiter(stub.HoldApp(HOLD, METADATA))))
        await held(controller, True)
        second = relay_process()
        assert stub._opening is not None
        (await stub._opening).close()  # as the end of this process does
        await asyncio.to_thread(second.wait, LONG_S)
        await asyncio.wait([holding])
        holding.exception()

    asyncio.run(main())


def test_an_error_of_the_controller_comes_through_a_relay_as_what_it_is(
    controller: FakeController,
) -> None:
    """One that says that it is there, and has no Redis: who asks is not to ask for ever."""
    spec = FunctionSpec(app_name="app", name="work")
    controller.payloads["fu-1"] = ("ap-1", spec, b"")
    controller.refuse = lambda _request: ServiceError("Redis is away")

    async def main() -> None:
        stub = relay_to(controller)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Submit(pb.SubmitRequest(function_id="fu-1"), METADATA)
        error = from_rpc_error(caught.value)
        assert isinstance(error, ServiceError) and str(error) == "Redis is away"
        assert not is_connection_loss(caught.value)
        assert stub._opening is not None and stub._pump is not None
        (await stub._opening).close()
        await stub._pump

    asyncio.run(main())
