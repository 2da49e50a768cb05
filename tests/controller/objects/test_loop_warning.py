"""A blocking request about a Dict or Queue in an event loop is warned of: what to write instead."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections import deque

import pytest

from rekindle.exception import AsyncUsageWarning
from rekindle.sdk.objects.dict import Dict
from rekindle.sdk.objects.queue import Queue
from rekindle.sdk.volume import Volume


@pytest.fixture(autouse=True)
def no_garbage() -> None:
    """That of tests before warns as it is collected: here, and not as what is looked at."""
    gc.collect()


def test_each_blocking_request_in_a_loop_gets_the_line_to_write() -> None:
    async def program() -> list[str]:
        d = Dict.from_name("loop-warning", create_if_missing=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert d.put("a", 1)
            assert d.get("a") == 1
            assert list(d.items()) == [("a", 1)]
            d["b"] = 2
            assert d["b"] == 2
            assert "b" in d
            assert len(d) == 2
            assert sorted(deque(d)) == ["a", "b"]
            for _ in d:
                break
            with Queue.ephemeral() as q:
                q.put(3)
                take = q.get
                assert take() == 3
            with Volume.ephemeral():
                pass
            Dict.objects.delete("loop-warning")
        assert {one.category for one in caught} == {AsyncUsageWarning}
        assert {one.filename for one in caught} == {__file__}
        return [str(one.message).partition("Write: ")[2] for one in caught]

    assert asyncio.run(program()) == [
        'await d.put.aio("a", 1)',
        'await d.get.aio("a")',
        "async for item in d.items.aio():",
        'await d.put.aio("b", 2)',
        'await d.get.aio("b")',
        'await d.contains.aio("b")',
        "await d.len.aio()",
        "async for item in d.keys.aio():",
        "async for item in d.keys.aio():",
        "async with Queue.ephemeral():",
        "await q.put.aio(3)",
        "await take.aio()",
        "async with Volume.ephemeral():",
        'await Dict.objects.delete.aio("loop-warning")',
    ]


def test_an_operator_is_named_as_it_stands_in_the_program() -> None:
    async def program() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            async with Dict.ephemeral() as d:
                d["a"] = [1, 2]
                d["b"] = d["a"]
                d["c"], other = (
                    "spread",
                    3,
                )
                del d["a"]
                assert list(d) and other
        return [str(one.message) for one in caught]

    blocks = "blocks the event loop that runs here until it is done. Write:"
    assert asyncio.run(program()) == [
        f'`d["a"] = [1, 2]` {blocks} await d.put.aio("a", [1, 2])',
        f'`d["a"]` {blocks} await d.get.aio("a")',
        f'`d["b"] = d["a"]` {blocks} await d.put.aio("b", d["a"])',
        f"`d['c'] = ...` {blocks} await d.put.aio(\"c\", ...)",
        f'`d["a"]` {blocks} await d.pop.aio("a")',
        *[f"`list(d)` {blocks} async for item in d.keys.aio():"] * 2,
    ]


def test_the_asyncio_forms_are_not_warned_of() -> None:
    async def program() -> None:
        async with Dict.ephemeral() as d:
            await d.put.aio("a", 1)
            assert [item async for item in d.items.aio()] == [("a", 1)]
            assert await asyncio.to_thread(d.get, "a") == 1
            assert await d.info.aio()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(program())
