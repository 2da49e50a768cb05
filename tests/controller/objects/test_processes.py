"""Threads, loops and processes take from one Queue while what serves it is killed."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rekindle import Queue
from tests.controller.harness import Instance
from tests.e2e.harness import wait_until

_OVER = -1
_NAME = "of.many"
#: Two threads and a loop with two tasks.
_TAKERS = 4


def _take(directory: str, notes: str) -> None:
    """What a process takes, until it is told that all is over; each taker notes what it has."""
    os.environ["REKINDLE_DIR"] = directory
    q = Queue.from_name(_NAME)

    def note(item: int, number: int) -> bool:
        with open(f"{notes}-{number}", "a") as file:
            file.write(f"{item}\n")
        return item != _OVER

    def take(number: int) -> None:
        while note(q.get(), number):
            pass

    async def take_or_be_cancelled(number: int) -> None:
        going_on = True
        while going_on:
            try:
                going_on = note(await asyncio.wait_for(q.get.aio(), 0.005), number)
            except TimeoutError:
                pass

    async def take_on_a_loop() -> None:
        await asyncio.gather(take_or_be_cancelled(2), take_or_be_cancelled(3))

    with ThreadPoolExecutor(3) as threads:
        ends = [threads.submit(take, number) for number in range(2)]
        ends.append(threads.submit(asyncio.run, take_on_a_loop()))
    for end in ends:
        end.result()


def test_each_item_is_taken_once_while_redis_and_the_controller_are_killed(
    instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REKINDLE_DIR", str(instance.directory))
    q = Queue.from_name(_NAME, create_if_missing=True)
    q.put(0)
    assert q.get() == 0  # what is forked inherits connections
    gc.collect()  # of gRPC's from tests before: it aborts a forked process that comes to free it
    processes = [
        multiprocessing.get_context(how).Process(
            target=_take, args=(str(instance.directory), str(tmp_path / how)), daemon=True
        )
        for how in ("fork", "spawn")
    ]
    for process in processes:
        process.start()
    last, enough = 0, threading.Event()

    def put() -> None:
        nonlocal last
        while not enough.is_set():
            q.put(last + 1)
            last += 1

    def taken() -> list[int]:
        return [int(line) for one in tmp_path.iterdir() for line in one.read_text().split()]

    def more_are_taken() -> None:
        before = len(taken())
        wait_until(lambda: len(taken()) > before + 100, "items to be taken")

    with ThreadPoolExecutor(1) as threads:
        putting = threads.submit(put)
        try:
            wait_until(lambda: {one.name[0] for one in tmp_path.iterdir()} == {"f", "s"}, "both")
            for kill, start in (
                (instance.kill_redis, instance.start_redis),
                (instance.kill_controller, instance.start_controller),
            ):
                more_are_taken()
                kill()
                start()
            more_are_taken()
        finally:
            enough.set()
        putting.result()
    wait_until(lambda: set(taken()) >= set(range(1, last + 1)), "all items to be taken")
    for _ in range(_TAKERS * len(processes)):
        q.put(_OVER)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    counts = Counter(taken())
    del counts[_OVER]
    assert counts == Counter(range(1, last + 1)) and q.len() == 0
