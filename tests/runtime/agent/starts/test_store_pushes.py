"""What a store does not take is tried again; at a node's end, only what mends damage there."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from rekindle.exception import BlobStoreError, ImageError
from rekindle.runtime.agent.starts import store_pushes
from rekindle.runtime.agent.starts.store_pushes import StorePushes


def _no() -> bool:
    return False


class _Store:
    """Takes what it is given while it is there."""

    def __init__(self) -> None:
        self.is_there = False
        self.has: list[str] = []
        self.refused: list[str] = []

    def push(self, name: str) -> Callable[[], None]:
        def push() -> None:
            (self.has if self.is_there else self.refused).append(name)
            if not self.is_there:
                raise BlobStoreError("it is away")

        return push

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.001)


def _run(scenario: Callable[[_Store, StorePushes], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        pushes = StorePushes("thing")
        await scenario(_Store(), pushes)
        await pushes.close()

    asyncio.run(main())


def test_what_a_store_does_not_take_is_tried_again_until_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_pushes, "MOST_WAIT_S", 0.01)

    async def scenario(store: _Store, pushes: StorePushes) -> None:
        pushes._wait_s = 0.01
        for name in ("one", "two"):
            pushes.soon(name, store.push(name), _no)
            pushes.soon(name, store.push(name), _no)  # it waits for its turn already
        await store.until(lambda: min(map(store.refused.count, ("one", "two"))) > 2)
        store.is_there = True
        await store.until(lambda: sorted(store.has) == ["one", "two"])

    _run(scenario)


def test_what_is_taken_ends_the_wait_of_what_was_not() -> None:
    async def scenario(store: _Store, pushes: StorePushes) -> None:
        pushes._wait_s = 3600.0
        for name in ("one", "two"):
            pushes.soon(name, store.push(name), _no)
        await store.until(lambda: store.refused == ["one", "two"])
        store.is_there = True
        pushes.soon("three", store.push("three"), _no)
        await store.until(lambda: sorted(store.has) == ["one", "three", "two"])

    _run(scenario)


def test_a_node_that_ends_waits_no_longer_and_tries_once_more_what_mends_damage() -> None:
    async def scenario(store: _Store, pushes: StorePushes) -> None:
        pushes._wait_s = 3600.0
        pushes.soon("plain", store.push("plain"), _no)
        pushes.soon("mending", store.push("mending"), lambda: True)
        await store.until(lambda: pushes._waiting == {"plain", "mending"} and store.refused[1:])
        await pushes.close()
        assert store.refused == ["plain", "mending", "mending"] and not store.has

    _run(scenario)


@pytest.mark.parametrize("mends", [False, True])
def test_a_node_ends_although_a_store_says_nothing(
    monkeypatch: pytest.MonkeyPatch, mends: bool
) -> None:
    monkeypatch.setattr(store_pushes, "MEND_S", 0.01)
    monkeypatch.setattr(store_pushes, "GIVE_UP_S", 0.01)
    asked, answers = threading.Event(), threading.Event()

    def push() -> None:
        asked.set()
        answers.wait()

    async def scenario(_store: _Store, pushes: StorePushes) -> None:
        pushes.soon("thing", push, lambda: mends)
        await asyncio.to_thread(asked.wait)
        await pushes.close()

    with concurrent.futures.ThreadPoolExecutor(1) as ending:  # it waits for its own pool, too
        ended = ending.submit(_run, scenario)
        try:
            ended.result(timeout=60)
        finally:
            answers.set()


def test_what_could_not_be_looked_at_here_is_tried_again_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_pushes, "MOST_WAIT_S", 0.01)

    async def scenario(store: _Store, pushes: StorePushes) -> None:
        pushes._wait_s = 0.01

        def push() -> None:
            if not store.refused:
                store.refused.append("layer")
                raise ImageError("layer 1 cannot be looked at: Too many open files")
            store.has.append("layer")

        pushes.soon("layer", push, _no)
        await store.until(lambda: store.has)

    _run(scenario)
