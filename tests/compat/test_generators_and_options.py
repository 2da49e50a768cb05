"""Rows of Modal's API: generators, asyncio forms, dynamic options. What runs is in tests/e2e."""

from __future__ import annotations

import gc
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import rekindle
from rekindle.exception import ExecutionError, InvalidError

app = rekindle.App("compat")


@app.function()
def count(n: int) -> Iterator[int]:
    yield from range(n)


@app.function()
async def count_aio(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


@app.function()
async def doubled(n: int) -> int:
    return 2 * n


@app.cls()
class Model:
    @rekindle.enter()
    async def load(self) -> None:
        self.base = 10

    @rekindle.method(is_generator=True)
    def stream(self, n: int) -> Iterator[int]:
        return iter(range(n))

    @rekindle.method()
    async def run(self, n: int) -> int:
        return self.base + n

    @rekindle.method()
    async def stream_aio(self) -> AsyncIterator[int]:
        yield self.base


def test_a_function_is_not_called_with_parentheses_alone() -> None:
    with pytest.raises(TypeError, match=r"count\.remote\(...\).*count\.local\(...\)"):
        count(1)


@pytest.mark.parametrize("way", ["remote", "spawn", "map", "starmap", "for_each", "spawn_map"])
def test_a_generator_is_only_called_by_remote_gen(way: str) -> None:
    made: Any = Model
    for generator in (count, count_aio, made().stream):
        with pytest.raises(InvalidError, match="remote_gen"):
            getattr(generator, way)([1])


def test_a_generator_cannot_be_retried() -> None:
    with pytest.raises(InvalidError, match="retries="):
        app.function(retries=1, name="retried")(count.undecorated)


def test_items_need_a_running_app() -> None:
    with pytest.raises(ExecutionError, match="is not running"):
        count.remote_gen(1)


def test_local_gives_what_the_function_itself_gives() -> None:
    assert inspect.isgenerator(count.local(2)) and list(count.local(2)) == [0, 1]
    assert inspect.isasyncgen(count_aio.local(2))
    pending = doubled.local(2)
    assert inspect.iscoroutine(pending)
    pending.close()


async def _local_values() -> list[int]:
    made: Any = Model
    items = [item async for item in made().stream_aio.local()]
    return [*items, await made().run.local(1)]


def test_local_methods_run_async_enter_hooks_first() -> None:
    import asyncio

    assert asyncio.run(_local_values()) == [10, 11]


def test_every_blocking_call_has_an_asyncio_form() -> None:
    for name in ("remote", "remote_gen", "spawn", "map", "starmap", "for_each", "spawn_map"):
        assert callable(getattr(doubled, name).aio)
    assert callable(doubled.get_current_stats.aio) and callable(rekindle.FunctionCall.gather.aio)
    call = rekindle.FunctionCall.from_id("fc-1")  # asks nobody
    assert call.object_id == "fc-1"
    assert all(hasattr(way, "aio") for way in (call.get, call.cancel, call.num_inputs, call.iter))


def test_with_options_gives_a_variant_and_leaves_the_function_as_it_is() -> None:
    variant = count.with_options(timeout=5, memory=64)
    assert variant is not count and variant.name == count.name and variant.is_generator
    with pytest.raises(TypeError, match="min_containers"):
        count.with_options(min_containers=1)
    gc.collect()
