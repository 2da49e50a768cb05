"""A call that blocks an event loop is warned of, with the line to write instead."""

from __future__ import annotations

import asyncio
import gc
import sys
import types
import warnings

import pytest

import rekindle
from rekindle.exception import AsyncUsageWarning
from rekindle.sdk import loop_warning
from tests.sdk.fake_controller import FakeController


@pytest.fixture(autouse=True)
def no_garbage() -> None:
    """That of tests before warns as it is collected: here, and not as what is looked at."""
    gc.collect()


app = rekindle.App("loop-warning")


@app.function()
def square(x: int) -> int:
    return x * x


def test_each_blocking_call_in_a_loop_gets_the_line_to_write(controller: FakeController) -> None:
    async def program() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert square.remote(3) == 9
            assert list(square.map([1, 2])) == [1, 4]
            call = square.spawn(2)
            assert call.get(timeout=60) == 4
            square.remote(
                5,
            )
        assert {one.category for one in caught} == {AsyncUsageWarning}
        assert {one.filename for one in caught} == {__file__}
        return [str(one.message).partition("Write: ")[2] for one in caught]

    async def with_block() -> None:
        with pytest.warns(AsyncUsageWarning, match="Write: async with app.run"), app.run():
            pass

    with app.run():
        assert asyncio.run(program()) == [
            "await square.remote.aio(3)",
            "async for item in square.map.aio([1, 2]):",
            "await square.spawn.aio(2)",
            "await call.get.aio(timeout=60)",
            "await ....remote.aio(...)",
        ]
    asyncio.run(with_block())


def test_neither_the_asyncio_form_nor_a_thread_is_warned_of(controller: FakeController) -> None:
    async def program() -> int:
        own = await square.remote.aio(2)
        return own + await asyncio.to_thread(square.remote, 3)

    async def main() -> None:
        async with app.run():
            assert await program() == 13

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())


def test_asyncio_that_another_thread_is_importing_runs_no_loop_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "asyncio.events", types.ModuleType("asyncio.events"))
    assert not loop_warning.loop_runs()
