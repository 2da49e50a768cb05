"""Descriptors from which something is read as soon as it comes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rekindle.runtime.agent import readers
from tests import descriptors


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe2(os.O_NONBLOCK)
    try:
        yield read, write
    finally:
        os.close(read)
        os.close(write)


def test_each_is_called_for_what_comes_to_it_until_it_is_removed() -> None:
    async def scenario() -> None:
        watched, loop = readers.here(), asyncio.get_running_loop()
        with pipe() as (one, to_one), pipe() as (other, to_other):
            came: list[bytes] = []
            last = loop.create_future()

            def ended() -> None:
                os.read(other, 10)
                last.set_result(None)

            watched.add(one, lambda: came.append(os.read(one, 10)))
            watched.add(other, ended)
            os.write(to_one, b"first")
            while not came:
                await asyncio.sleep(0)
            watched.remove(one)
            os.write(to_one, b"second")
            os.write(to_other, b"!")
            await last
            watched.remove(other)
            assert came == [b"first"]
            assert os.read(one, 10) == b"second", "it was left there"

    asyncio.run(scenario())


def test_one_that_another_removes_in_the_same_turn_is_not_called() -> None:
    async def scenario() -> None:
        watched, done = readers.here(), asyncio.get_running_loop().create_future()
        with pipe() as (one, to_one), pipe() as (other, to_other):
            called: list[int] = []

            def only(me: int, not_this: int) -> None:
                called.append(me)
                watched.remove(not_this)
                watched.remove(me)
                done.set_result(None)

            watched.add(one, lambda: only(one, other))
            watched.add(other, lambda: only(other, one))
            os.write(to_one, b"!")
            os.write(to_other, b"!")
            await done
            await asyncio.sleep(0)
            assert len(called) == 1

    asyncio.run(scenario())


def test_an_error_in_one_does_not_keep_the_others_from_their_turn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        watched, done = readers.here(), asyncio.get_running_loop().create_future()
        with pipe() as (one, to_one), pipe() as (other, to_other):

            def fails() -> None:
                watched.remove(one)
                raise ValueError("what came is nonsense")

            def works() -> None:
                watched.remove(other)
                done.set_result(None)

            watched.add(one, fails)
            watched.add(other, works)
            os.write(to_one, b"!")
            os.write(to_other, b"!")
            await done

    asyncio.run(scenario())
    assert "what came is nonsense" in caplog.text


def test_no_descriptor_is_left_where_nothing_is_watched() -> None:
    async def scenario() -> None:
        before = descriptors.opened()
        with pipe() as (one, _):
            readers.here().add(one, lambda: None)
            readers.here().remove(one)
            readers.here().remove(one)  # once more is nothing
        assert not descriptors.newly_open(before)

    asyncio.run(scenario())
