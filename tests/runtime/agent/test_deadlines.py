"""Many things that may take too long, and one timer for all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from rekindle.runtime.agent import deadlines


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def keep_the_loop_busy() -> None:
    """Until all that these tests add is over: one look finds it all."""
    time.sleep(0.03)


def test_what_is_due_sooner_is_called_sooner_whenever_it_was_added() -> None:
    async def scenario() -> None:
        called, last = [], asyncio.get_running_loop().create_future()
        all_of_them = deadlines.here()
        all_of_them.add(0.02, lambda: last.set_result(None))
        all_of_them.add(0.01, lambda: called.append("second"))
        all_of_them.add(0.0, lambda: called.append("first"))
        keep_the_loop_busy()
        await last
        assert called == ["first", "second"]

    run(scenario())


def test_what_was_in_time_is_never_called() -> None:
    async def scenario() -> None:
        called, last = [], asyncio.get_running_loop().create_future()
        all_of_them = deadlines.here()
        sooner = all_of_them.add(0.0, lambda: called.append("sooner"))
        later = all_of_them.add(0.01, lambda: called.append("later"))
        sooner.cancel()
        all_of_them.add(0.0, later.cancel)
        all_of_them.add(0.02, lambda: last.set_result(None))
        keep_the_loop_busy()
        await last
        sooner.cancel()  # once more is nothing
        assert not called

    run(scenario())


def test_one_that_is_called_at_the_same_time_can_call_another_off() -> None:
    async def scenario() -> None:
        called, last = [], asyncio.get_running_loop().create_future()
        all_of_them = deadlines.here()
        added: list[deadlines.Deadline] = []
        added.append(all_of_them.add(0.0, lambda: added[1].cancel()))
        added.append(all_of_them.add(0.0, lambda: called.append("other")))
        all_of_them.add(0.0, lambda: last.set_result(None))
        await last
        assert not called

    run(scenario())


def test_an_error_in_one_is_that_ones_alone() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        said: list[BaseException] = []
        loop.set_exception_handler(lambda _loop, about: said.append(about["exception"]))
        last = loop.create_future()
        deadlines.here().add(0.0, lambda: 1 // 0)
        deadlines.here().add(0.0, lambda: last.set_result(None))
        await last
        assert [type(error) for error in said] == [ZeroDivisionError]

    run(scenario())


def test_each_loop_has_its_own() -> None:
    async def scenario() -> None:
        last = asyncio.get_running_loop().create_future()
        deadlines.here().add(0.0, lambda: last.set_result(None))
        await last

    run(scenario())
    run(scenario())
