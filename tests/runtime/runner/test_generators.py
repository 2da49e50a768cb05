"""A generator in a runner: what it is run by, and that it is closed whatever ends it."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rekindle.exception import InvalidError
from rekindle.runtime.runner import generators
from rekindle.runtime.runner.cancelling import Canceller
from rekindle.runtime.runner.service import Service
from rekindle.wire.direct_stream import ItemReader, ItemWriter
from rekindle.wire.page import CANCEL_SIGNAL
from rekindle.wire.shared import pack, unpack


class Runner:
    """Runs functions with a socket pair in the place of a lease."""

    def __init__(self, client: socket.socket, runner: socket.socket) -> None:
        self.client = client
        self.writer = ItemWriter(runner, (1, 2))
        self.reader = ItemReader(client)

    def run(
        self, function: Callable[..., Any], *args: Any, canceller: Canceller | None = None
    ) -> None:
        service = Service("f", {"": function}, canceller=canceller)
        try:
            generators.run(service, "", args, {}, self.writer, pack)
        finally:
            service.drop_loop()

    def items(self) -> list[Any]:
        """What has been sent."""
        self.reader.read()
        found = []
        while self.reader.has_item:
            found.append(unpack(*self.reader.take_item()))
        return found


@pytest.fixture
def runner() -> Iterator[Runner]:
    client, own = socket.socketpair()
    with client, own:
        made = Runner(client, own)
        yield made
        made.writer.close()
        made.reader.close()


def test_whatever_can_be_iterated_is_sent_item_by_item(runner: Runner) -> None:
    async def twice(x: int) -> Any:
        yield x
        yield x

    runner.run(range, 2)
    runner.run(twice, 7)
    assert runner.items() == [0, 1, 7, 7]


def test_what_cannot_be_is_an_error_that_says_what_it_was(runner: Runner) -> None:
    with pytest.raises(InvalidError, match="f is called as a generator and gave an int"):
        runner.run(int)


def test_it_is_closed_at_its_yield_once_its_reader_is_gone(runner: Runner) -> None:
    ended = []

    def endless() -> Any:
        try:
            while True:
                yield 1
        except GeneratorExit:
            ended.append("plain")
            raise

    async def endless_aio() -> Any:
        try:
            while True:
                yield 1
        finally:
            ended.append("async")

    runner.client.shutdown(socket.SHUT_RDWR)
    runner.run(endless)
    runner.run(endless_aio)
    assert ended == ["plain", "async"]


def test_its_finally_is_not_interrupted_by_the_cancellation_of_a_reader_that_is_gone(
    runner: Runner, cancelled: tuple[Canceller, int]
) -> None:
    canceller, token = cancelled
    ended = []

    def cancel() -> None:
        signal.raise_signal(CANCEL_SIGNAL)

    def endless() -> Any:
        try:
            while True:
                yield 1
        finally:
            cancel()
            ended.append("plain")

    async def endless_aio() -> Any:
        try:
            while True:
                yield 1
        finally:
            cancel()
            await asyncio.sleep(0)
            ended.append("async")

    runner.client.shutdown(socket.SHUT_RDWR)
    for function in (endless, endless_aio):
        canceller.armed = token
        runner.run(function, canceller=canceller)
    assert ended == ["plain", "async"]


def test_it_is_closed_where_an_item_cannot_be_pickled(runner: Runner) -> None:
    ended = []

    def generator() -> Any:
        try:
            yield 1
            yield (i for i in ())
        finally:
            ended.append(True)

    with pytest.raises(TypeError, match="generator"):
        runner.run(generator)
    assert ended == [True] and runner.items() == [1]


def test_a_call_for_a_value_says_how_a_generator_is_called() -> None:
    def generator() -> Any:
        yield 1

    service = Service("Model", {"stream": generator})
    with pytest.raises(InvalidError, match=r"iterate over Model\.stream\.remote_gen\(...\)"):
        service.call("stream", (), {})
