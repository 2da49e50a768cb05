"""Many forks and restores at once, and in a row, with real templates and CRIU."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from tests.runtime.agent.harness import Harness, run
from tests.runtime.agent.starts.counter import Counter

pytestmark = pytest.mark.criu


def test_restores_at_the_same_time_do_not_get_into_each_others_way(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        assert (await h.prepare(counter, "restore")).ok
        for _ in range(2):
            keys = [h.submit(counter, "total", strategy="restore") for _ in range(12)]
            for key in keys:
                assert (await h.result(key)).strategy == "restore"
        assert not h.revision(counter).tracker.mapping_failed

    run(home, scenario)


def test_many_forks_while_templates_change_all_succeed(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        assert (await h.prepare(counter, "fork")).ok
        assert (await h.prepare(counter, "restore")).ok
        for _round in range(5):
            keys = [h.submit(counter, "total", n, strategy="fork") for n in range(4)]
            assert (await h.prepare(counter, "fork")).ok
            await h.node.inventory.pools[(counter, "")].starter.restore_template()
            for n, key in enumerate(keys):
                assert (await h.result(key)).value == 499500 + n

    run(home, scenario)


class HasSemaphore:
    """multiprocessing keeps its semaphores as deleted files in /dev/shm."""

    def load(self) -> None:
        import multiprocessing

        self.lock = multiprocessing.Lock()

    def hold(self, seconds: float) -> bool:
        with self.lock:
            time.sleep(seconds)
            return os.path.exists("/dev/shm")


def test_copies_with_shared_semaphores_are_restored_at_once_and_do_not_share_them(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        holder = h.add(HasSemaphore, enable_memory_snapshot=True)
        assert (await h.prepare(holder, "restore")).ok
        for _round in range(3):
            keys = [h.submit(holder, "hold", 0.05, strategy="restore") for _ in range(6)]
            assert all([(await h.result(key)).value for key in keys])
        # Other tests have files of their own there, for a while.
        await h.uplink.until(lambda: set(os.listdir("/dev/shm")) <= before)

    before = set(os.listdir("/dev/shm"))
    run(home, scenario)


def test_two_hundred_restores_in_a_row_all_work(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        assert (await h.prepare(counter, "restore")).ok
        for number in range(200):
            outcome = await h.call(counter, "total", number, strategy="restore")
            assert outcome.value == 499500 + number

    run(home, scenario)


def test_eight_restores_at_once_all_work_again_and_again(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        counter = h.add(Counter, enable_memory_snapshot=True)
        assert (await h.prepare(counter, "restore")).ok
        for _round in range(5):
            keys = [h.submit(counter, "total", n, strategy="restore") for n in range(8)]
            outcomes = await asyncio.gather(*(h.result(key) for key in keys))
            assert [o.value for o in outcomes] == [499500 + n for n in range(8)]

    run(home, scenario)
