"""What a controller has in memory of apps that have ended, and what in Redis: nothing for ever."""

from __future__ import annotations

import asyncio

from rekindle.controller.deployments.turns import Turns
from rekindle.controller.state import Agent
from rekindle.controller.storage import keys
from rekindle.wire import rekindle_pb2 as pb
from tests.controller.harness import Instance, in_loop
from tests.controller.in_process import of_one_input, registered, running_parts


@in_loop
async def test_agents_are_remembered_for_functions_of_open_apps_alone(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        agent = Agent("ag-test", "host", 1, False, 4, 8, outbox=asyncio.Queue())
        parts.core.state.agents[agent.agent_id] = agent
        await parts.intake.submit(function, of_one_input(function))
        while not agent.known_functions:
            await asyncio.sleep(0.01)  # it gives no event
        closing = asyncio.create_task(parts.apps.close(function.app.app_id))
        while not parts.orders._closes._open:
            await asyncio.sleep(0.01)
        parts.orders.app_closed(next(iter(parts.orders._closes._open)))
        await closing
        assert not (agent.known_functions or agent.nested or parts.orders._closes._open)


@in_loop
async def test_a_line_that_comes_as_its_app_closes_goes_with_the_others(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone) as parts:
        function = await registered(parts)
        app_id = function.app.app_id
        put_away = parts.registry.forget_app

        async def forget(*args: object) -> None:
            await put_away(*args)  # type: ignore[arg-type]
            parts.logbook.add(pb.LogLine(app_id=app_id, text="late"))

        parts.registry.forget_app = forget  # type: ignore[method-assign,assignment]
        await parts.apps.close(app_id)
        await parts.logbook.flush()
        assert await parts.link.command("EXISTS", keys.logs(app_id))
        assert await parts.link.command("TTL", keys.logs(app_id)) > 0


@in_loop
async def test_turns_of_a_name_are_taken_one_by_one_and_nothing_is_kept_of_it(
    redis_alone: Instance,
) -> None:
    async with running_parts(redis_alone) as parts:
        turns, order = Turns(parts.core.tasks), list[str]()

        async def step(name: str) -> str:
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            order.append(f"{name} ends")
            if name == "b":
                raise LookupError(name)
            return name

        found = await asyncio.gather(
            *(turns.take("app", lambda name=name: step(name)) for name in "abc"),  # type: ignore[misc]
            return_exceptions=True,
        )
        assert [str(one) for one in found] == ["a", "b", "c"]
        assert order == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]
        assert not turns._locks
