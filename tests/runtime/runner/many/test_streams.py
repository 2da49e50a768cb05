"""Generators beside others in one runner: what ends one early, and where that reaches it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from rekindle.exception import InputCancellation
from rekindle.runtime.runner.many import streams
from rekindle.runtime.runner.many.interrupt import Interrupt
from rekindle.runtime.runner.many.prints import Prints
from rekindle.runtime.runner.many.run import Run, Stream
from rekindle.wire.direct_stream import ItemReader, ItemWriter
from rekindle.wire.shared import pack
from tests import descriptors


class Reader:
    """Reads what one generator sends, in the place of a client."""

    def __init__(self) -> None:
        self.sock, self._own = socket.socketpair()
        self.reader = ItemReader(self.sock)
        stream = Stream(partial(ItemWriter, self._own), pack)
        given: Any = None
        self.run = Run(0, "fc-1", 0, "", 0, given, given, Prints("fc-1"), 1, stream=stream)
        self.ended = threading.Event()

    def send(self, make: Callable[[], Any]) -> None:
        """Run a generator in a thread of its own."""

        def work() -> None:
            try:
                streams.send(self.run, make(), Interrupt(), "f")
            except BaseException as error:  # noqa: BLE001 - what it ended with is looked at
                self.run.failure = error
            self.ended.set()

        threading.Thread(target=work, daemon=True).start()

    def end(self) -> None:
        """As the runner ends one that was cancelled."""
        self.run.cause = InputCancellation("enough")
        assert self.run.interrupt is not None
        self.run.interrupt()

    def close(self) -> None:
        self.reader.close()
        self.sock.close()
        self._own.close()


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


class Generator:
    """Says how it was ended."""

    def __init__(self) -> None:
        self.count = 0
        self.ended = ""
        self.computes = threading.Event()
        self.tidied = False

    def items(self) -> Iterator[int]:
        """Without an end."""
        try:
            while True:
                self.count += 1
                yield self.count
        except BaseException as error:
            self.ended = type(error).__name__
            raise
        finally:
            self.tidied = True

    def busy(self) -> Iterator[int]:
        """Computes for ever behind its first item."""
        try:
            yield 1
            self.computes.set()
            while True:
                self.count += 1
        except BaseException as error:
            self.ended = type(error).__name__
            raise
        finally:
            for _ in range(100_000):  # nothing is raised here
                self.count += 1
            self.tidied = True


def test_one_that_waits_for_its_reader_is_closed_at_its_yield(reader: Reader) -> None:
    generator = Generator()
    reader.send(generator.items)
    while not reader.reader.has_item or generator.count < 64:
        reader.reader.read()  # and says of nothing that it was taken
    reader.end()
    assert reader.ended.wait(30)
    assert (generator.ended, generator.tidied) == ("GeneratorExit", True)
    assert generator.count < 70


def test_one_that_computes_is_interrupted_there_and_not_in_its_finally(reader: Reader) -> None:
    generator = Generator()
    reader.send(generator.busy)
    assert generator.computes.wait(30)
    reader.end()
    assert reader.ended.wait(30)
    assert (generator.ended, generator.tidied) == ("InputCancellation", True)


def test_one_whose_reader_is_gone_is_closed_at_its_yield(reader: Reader) -> None:
    generator = Generator()
    reader.sock.close()
    reader.send(generator.items)
    assert reader.ended.wait(30)
    assert (generator.ended, generator.tidied) == ("GeneratorExit", True)
    assert reader.run.failure is None


def test_an_async_one_in_a_thread_is_ended_from_another(reader: Reader) -> None:
    ended: list[str] = []
    waits = threading.Event()

    async def items() -> Any:
        try:
            yield 1
            waits.set()
            await asyncio.Event().wait()
        except BaseException as error:
            ended.append(type(error).__name__)
            raise
        finally:
            await asyncio.sleep(0)
            ended.append("tidied")

    reader.send(items)
    assert waits.wait(30)
    reader.end()
    assert reader.ended.wait(30)
    assert ended == ["CancelledError", "tidied"]


class Raises:
    """Items that cannot be closed."""

    def __init__(self) -> None:
        self.left = 300

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.left -= 1
        if not self.left:
            raise StopIteration
        return self.left

    def close(self) -> None:
        raise KeyError("close")

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> int:
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        raise KeyError("close")


class OnlyAsync(Raises):
    """The same, for a loop."""

    __iter__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("kind", [Raises, OnlyAsync])
def test_what_cannot_be_closed_leaves_nothing_open(reader: Reader, kind: type[Raises]) -> None:
    before = descriptors.opened()
    reader.send(kind)
    count = 0
    while count < 299:
        reader.reader.read()
        while reader.reader.has_item:
            reader.reader.take_item()
            count += 1
    assert reader.ended.wait(30)
    assert isinstance(reader.run.failure, KeyError)
    reader.reader.close()
    assert not descriptors.newly_open(before)
