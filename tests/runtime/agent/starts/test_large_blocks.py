"""Where large blocks of memory lie, as weights are: each area of memory costs every start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.runtime.agent.harness import Harness, run


class Weights:
    """Blocks of 20 MiB."""

    def load(self) -> None:
        self.blocks = [bytearray([number + 1]) * (20 << 20) for number in range(5)]

    def look(self) -> tuple[bool, int, bool]:
        """Whether they are in the heap, the areas that begin between them, and whether they are
        whole, also once they were written to and one was replaced."""
        import ctypes

        def places() -> list[int]:
            return [ctypes.addressof(ctypes.c_char.from_buffer(one)) for one in self.blocks]

        with open("/proc/self/maps") as lines:
            areas = [line.split(None, 5) for line in lines]
        starts = [int(area[0].split("-")[0], 16) for area in areas]
        heap = starts[["[heap]\n" in area for area in areas].index(True)]
        sbrk = ctypes.CDLL(None).sbrk
        sbrk.restype = ctypes.c_void_p
        end: int = sbrk(0)
        first, last = min(places()), max(places())
        between = sum(first < start < last for start in starts)
        for block in self.blocks:
            block[::4096] = b"x" * len(block[::4096])
        self.blocks[3] = bytearray(20 << 20)
        whole = [block[1] == block[-1] == number + 1 for number, block in enumerate(self.blocks)]
        whole[3] = not any(self.blocks[3][::1000])
        self.blocks[4] += b"more" * (2 << 20)
        return heap < first and last < end, between, all(whole)


@pytest.mark.criu
def test_large_blocks_of_a_template_are_in_its_heap_and_one_area_in_restored_copies(
    home: Path,
) -> None:
    async def scenario(h: Harness) -> None:
        function_id = h.add(Weights, enable_memory_snapshot=True)
        for strategy in ("fork", "restore", "fork"):
            prepared = await h.prepare(function_id, strategy)
            assert prepared.ok, prepared.reason
            for _ in range(2):
                found: Any = await h.call(function_id, "look", strategy=strategy)
                assert found.strategy == strategy
                assert found.value == (True, 0, True)

    run(home, scenario)


def test_a_runner_without_a_template_has_large_blocks_as_any_program_has(home: Path) -> None:
    async def scenario(h: Harness) -> None:
        function_id = h.add(Weights)
        found = await h.call(function_id, "look")
        in_heap, _between, whole = found.value
        assert found.strategy == "cold" and whole and not in_heap

    run(home, scenario)
