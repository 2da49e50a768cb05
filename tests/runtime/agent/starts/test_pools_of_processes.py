"""A template that has used a pool of processes, as Python 3.14 starts them by default: by a fork
server, which is alive until somebody ends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.runtime.agent.harness import Harness, run

pytestmark = pytest.mark.criu


class HasUsedAPool:
    def load(self) -> None:
        self.loaded = self.negated()

    def negated(self) -> Any:
        import multiprocessing
        import operator

        with multiprocessing.get_context("forkserver").Pool(1) as pool:
            return pool.map(operator.neg, [1, 2])

    def both(self) -> Any:
        return self.loaded, self.negated()


def test_it_is_forked_and_frozen_and_its_copies_have_pools_of_their_own(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        key = h.add(HasUsedAPool, enable_memory_snapshot=True)
        for strategy in ("fork", "restore"):
            made = await h.prepare(key, strategy)
            assert made.ok, made
            result = await h.result(h.submit(key, "both", strategy=strategy))
            assert (result.value, result.strategy) == (([-1, -2], [-1, -2]), strategy)

    run(home, scenario)
