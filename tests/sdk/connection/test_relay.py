"""The relay of a forked child: one that cannot be started just now is started by the next call."""

from __future__ import annotations

import asyncio
import logging
import struct
from pathlib import Path

import grpc
import grpc.aio
import pytest

from rekindle.sdk.connection.relay import RelayStub
from rekindle.wire import rekindle_pb2 as pb
from tests import exhausted


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


def test_who_waits_for_a_relay_that_is_not_understood_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        stub = RelayStub(f"unix:{tmp_path}/nobody.sock")
        _, events = stub.begin()
        reader = asyncio.StreamReader()
        reader.feed_data(struct.pack("!I", 2) + b"no")
        await stub._deliver(reader)
        kind, code, why, _ = events.get_nowait()
        assert (kind, code) == ("error", "UNAVAILABLE") and "not understood" in why

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert "the relay process is not understood" in caplog.text
