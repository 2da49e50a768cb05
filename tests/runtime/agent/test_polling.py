"""What goes on is looked at again and again. It is played."""

from __future__ import annotations

import asyncio
from typing import Any

from rekindle.runtime.agent.polling import Polling


class Played:
    """One thing goes on, until it has been looked at so often."""

    def __init__(self, looks: int, error_at: int = 0) -> None:
        self.busy = ["one"]
        self.left, self.error_at = looks, error_at
        self.done = asyncio.get_running_loop().create_future()

    def look(self, busy: list[str], _now: float) -> None:
        self.left -= 1
        if not self.left:
            self.busy = []
            self.done.set_result(len(busy))
        elif self.left == self.error_at:
            raise ValueError("what it shows is nonsense")


def watched(looks: int, error_at: int = 0) -> tuple[int, list[dict[str, Any]]]:
    """How many the last look was at, and the errors that the loop was told of."""
    told: list[dict[str, Any]] = []

    async def scenario() -> int:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, about: told.append(about))
        played = Played(looks, error_at)
        Polling(0.001, lambda: played.busy, played.look).soon()
        async with asyncio.timeout(60):
            count: int = await played.done
        return count

    return asyncio.run(scenario()), told


def test_what_goes_on_is_looked_at_again_after_each_look() -> None:
    assert watched(3) == (1, [])


def test_an_error_in_one_look_does_not_end_the_looking() -> None:
    count, told = watched(3, error_at=2)
    assert count == 1
    assert [str(one["exception"]) for one in told] == ["what it shows is nonsense"]
