"""The agenda of pools: one pass for all that has changed, and never one inside of another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from rekindle.runtime.agent.pools.agenda import Agenda, PoolKey

ONE, OTHER, LAST = ("fu-1", ""), ("fu-2", ""), ("fu-3", "")


class Passes:
    """Notes what each pass was for; the first one changes a pool again, as a pass may."""

    def __init__(self) -> None:
        self.agenda = Agenda(self.run)
        self.seen: list[list[PoolKey]] = []
        self.depth = 0

    def run(self, due: Iterable[PoolKey]) -> None:
        self.depth += 1
        assert self.depth == 1
        self.seen.append(list(due))
        if len(self.seen) == 1:
            self.agenda.add(ONE)
        self.depth -= 1


def test_changes_of_one_turn_are_one_pass_and_what_a_pass_changes_is_for_the_next() -> None:
    async def scenario() -> None:
        passes = Passes()
        for key in (ONE, OTHER, ONE, ONE):
            passes.agenda.add(key)
        assert not passes.seen
        await asyncio.sleep(0)
        assert passes.seen == [[ONE, OTHER]]
        await asyncio.sleep(0)
        assert passes.seen == [[ONE, OTHER], [ONE]]
        await asyncio.sleep(0)
        assert len(passes.seen) == 2

    asyncio.run(scenario())


def test_a_pass_that_is_had_at_once_is_not_had_again_in_the_next_turn() -> None:
    async def scenario() -> None:
        passes = Passes()
        passes.agenda.act()
        assert not passes.seen  # nothing is due
        passes.agenda.add(OTHER)
        passes.agenda.act()
        assert passes.seen == [[OTHER]]
        passes.agenda.add(LAST)
        await asyncio.sleep(0)
        assert passes.seen == [[OTHER], [ONE, LAST]]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(passes.seen) == 2

    asyncio.run(scenario())


def test_a_pool_is_looked_at_later_once_and_not_when_it_is_closed() -> None:
    async def scenario() -> None:
        passes = Passes()
        passes.seen.append([])  # nothing is changed by a pass
        passes.agenda.add_later(ONE, 0.01)
        passes.agenda.add_later(ONE, 0.02)
        passes.agenda.add_later(OTHER, 0.01)
        passes.agenda.remove(OTHER)
        passes.agenda.add_later(LAST, 0.03)  # when all others have had their time
        while not any(LAST in due for due in passes.seen):
            await asyncio.sleep(0)
        # One pass, or two: the machine may have stood still.
        assert sorted(key for due in passes.seen for key in due) == [ONE, LAST]

    asyncio.run(scenario())
