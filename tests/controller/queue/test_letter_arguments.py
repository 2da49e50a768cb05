"""Arguments of an input that left a dead letter are kept as long as the letter, in blobs."""

from __future__ import annotations

import asyncio

from rekindle.controller.storage import keys as names
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.blobs import new_key, open_store
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import Client, Instance, in_loop, new_id, spec
from tests.controller.queue.kept_calls import a_map, holding, looking, take, until


class LargeMap:
    """A map of three inputs with their arguments in blobs, which an agent has."""

    def __init__(self, instance: Instance, client: Client, agent: FakeAgent) -> None:
        self.instance, self.client, self.agent = instance, client, agent
        self.call_id = new_id("fc")
        self.function_id = ""
        self.keys: list[str] = []
        self.given: list[pb.Assign] = []

    async def begin(self, *, last: bool = True, ephemeral: bool = False) -> str:
        """Submit it; the id of its app."""
        app_id, [self.function_id] = await self.client.register("app", spec(), ephemeral=ephemeral)
        self.keys = [new_key(self.call_id, i, b"large") for i in range(3)]
        store = open_store((self.instance.directory / "blobs").as_uri())
        for key in self.keys:
            await asyncio.to_thread(store.put, key, b"large")
        await a_map(
            *(self.client, self.function_id, 3),
            call_id=self.call_id,
            inputs=[pb.Input(index=i, blob=key) for i, key in enumerate(self.keys)],
            last=last,
        )
        self.given = [await self.agent.assigned.get() for _ in self.keys]
        return app_id

    async def end(self, index: int, *, given_up: bool = False) -> None:
        await self.agent.done(self.given[index], status=pb.INTERNAL if given_up else pb.SUCCESS)
        acked = await self.agent.acks.get()
        assert list(acked.indexes) == [index]

    def blobs(self) -> set[str]:
        root = self.instance.directory / "blobs"
        return {str(path.relative_to(root)) for path in root.glob(f"{self.call_id}/*")}

    async def give_up_the_first(self) -> None:
        """It leaves a letter; all else is done and taken."""
        await self.begin()
        await self.end(0, given_up=True)
        await self.end(1)
        await self.end(2)
        await take(self.client, self.call_id, self.function_id, whole=True)
        await until(lambda: self.blobs() == {self.keys[0]})

    async def check_that_the_first_runs_again(self) -> None:
        with looking(self.instance) as keys:
            assert f"rk:function-of:{self.call_id}" in keys(self.call_id)
        await until(lambda: self.blobs() == {self.keys[0]})
        again = pb.DeadLetterSelection(function_id=self.function_id)
        reply = await self.client.call("Replay", again)
        assert (reply.count, len(reply.calls)) == (1, 1)
        assign = await self.agent.assigned.get()
        assert assign.inputs[0].blob == self.keys[0]
        await self.agent.done(assign)
        await self.client.results(reply.calls[0])
        await until(lambda: not self.blobs())


@in_loop
async def test_a_letter_of_a_map_that_goes_on_keeps_its_arguments(instance: Instance) -> None:
    """The map was left as one of its inputs was given up; others run yet."""
    async with Client(instance) as client, FakeAgent(instance) as agent:
        large = LargeMap(instance, client, agent)
        await large.begin()
        await large.end(0, given_up=True)
        for _ in range(2):  # its answer was lost on the way
            await take(client, large.call_id, large.function_id, whole=True)
        assert large.blobs() == set(large.keys)  # others have not begun with theirs
        await large.end(1)
        await large.end(2)
        await large.check_that_the_first_runs_again()


@in_loop
async def test_arguments_of_a_letter_go_with_it_where_it_is_dropped(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        large = LargeMap(instance, client, agent)
        await large.give_up_the_first()
        selected = pb.DeadLetterSelection(function_id=large.function_id)
        assert (await client.call("Drop", selected)).count == 1
        await until(lambda: not large.blobs())


@in_loop
async def test_arguments_of_a_letter_that_runs_again_are_kept_for_as_long_as_that_may_take(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        large = LargeMap(instance, client, agent)
        await large.give_up_the_first()
        index = names.call_index(large.call_id)
        with instance.redis_client() as server:
            assert server.expire(index, 100)  # as nearly seven days later
            await client.call("Replay", pb.DeadLetterSelection(function_id=large.function_id))
            assert server.ttl(index) > 6 * 86_400


@in_loop
async def test_a_letter_of_a_map_that_was_still_fed_keeps_its_arguments(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        large = LargeMap(instance, client, agent)
        await large.begin(last=False)
        await large.end(0, given_up=True)
        await large.end(1)
        await large.end(2)
        for _ in range(2):
            await take(client, large.call_id, large.function_id, whole=True)
        await large.check_that_the_first_runs_again()


@in_loop
async def test_a_letter_that_comes_after_its_map_was_left_keeps_its_arguments(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        large = LargeMap(instance, client, agent)
        await large.begin()
        await take(client, large.call_id, large.function_id, whole=True)
        await large.end(1)
        await large.end(2)
        instance.kill_controller()  # that it was left is known to the next one
        instance.start_controller()
        await agent.connect(large.given[:1])
        await large.end(0, given_up=True)
        await take(client, large.call_id, large.function_id, whole=True)
        await large.check_that_the_first_runs_again()


@in_loop
async def test_a_letter_of_an_app_that_has_ended_keeps_its_arguments(instance: Instance) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        large = LargeMap(instance, client, agent)
        app_id = await large.begin(ephemeral=True)
        async with holding(client, app_id):
            await large.end(0, given_up=True)
            await large.end(1)
            await large.end(2)
            result = new_key(large.call_id, 1, b"result")
            store = open_store((instance.directory / "blobs").as_uri())
            await asyncio.to_thread(store.put, result, b"result")
            await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        again, _ = await client.register("app", spec(), ephemeral=True)
        async with holding(client, again):
            await large.check_that_the_first_runs_again()
