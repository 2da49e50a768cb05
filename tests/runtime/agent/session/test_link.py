"""The agent's session with a controller that comes and goes: a real node, real gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest

from rekindle import paths
from rekindle.runtime.agent.session.link import Link, appears
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire import rekindle_pb2_grpc as rpc
from rekindle.wire.phases import now_ns
from rekindle.wire.serialization import serialize
from rekindle.wire.version import PROTOCOL
from tests.runtime.agent.harness import PATIENCE_S, Harness, run


class Controller(rpc.AgentGatewayServicer):
    """Says what it is told to say, and remembers what it hears."""

    def __init__(self, functions: dict[str, pb.FetchFunctionReply]) -> None:
        self.functions = functions
        self.hellos: list[pb.AgentHello] = []
        #: (call, index) -> how often its result came.
        self.results: dict[tuple[str, int], int] = {}
        self.messages = 0
        self.beats: list[pb.Heartbeat] = []
        self.confirms = True
        self.changed = asyncio.Event()
        self._contexts: list[Any] = []

    async def Session(self, messages: AsyncIterator[pb.AgentMessage], context: Any) -> None:
        async for message in messages:
            kind = message.WhichOneof("kind")
            if kind == "hello":
                self.hellos.append(message.hello)
                welcome = pb.Welcome(instance_id="in-test", protocol=PROTOCOL)
                await context.write(pb.ControllerMessage(welcome=welcome))
                self._contexts.append(context)
            elif kind == "heartbeat":
                self.beats.append(message.heartbeat)
            elif kind == "done":
                done = message.done
                self.messages += 1
                for index in done.indexes:
                    key = (done.call_id, index)
                    self.results[key] = self.results.get(key, 0) + 1
                if self.confirms:
                    ack = pb.AckDone(call_id=done.call_id, indexes=done.indexes)
                    await context.write(pb.ControllerMessage(ack=ack))
            self.changed.set()

    async def FetchFunction(
        self, request: pb.FetchFunctionRequest, _context: Any
    ) -> pb.FetchFunctionReply:
        return self.functions[request.function_id]

    async def order(self, **order: Any) -> None:
        await self._contexts[-1].write(pb.ControllerMessage(**order))

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def serving(instance: Path, controller: Controller) -> AsyncIterator[None]:
    """The controller answers at its socket; when this ends it is gone, as if it were killed."""
    server = grpc.aio.server()
    rpc.add_AgentGatewayServicer_to_server(controller, server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"unix:{paths.controller_socket(instance)}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(grace=None)


def run_linked(
    home: Path, scenario: Callable[[Harness, Controller, Path], Awaitable[None]]
) -> None:
    """Run a scenario against a node whose uplink is a real one."""

    async def linked(h: Harness) -> None:
        instance = h.node.context.settings.instance_dir
        token = paths.token_file(instance)
        token.write_text("secret")
        link = Link(instance, "ag-test", 4)
        h.uplink.link = link
        controller = Controller(h.uplink.functions)
        linking = asyncio.create_task(link.run(h.node))
        try:
            await scenario(h, controller, instance)
        finally:
            linking.cancel()
            await asyncio.gather(linking, return_exceptions=True)
            await link.close(h.node.in_flight)
            token.unlink()
            paths.controller_socket(instance).unlink(missing_ok=True)

    run(home, linked)


def same(value: int) -> int:
    return value


def order(function_id: str, call_id: str, indexes: range) -> pb.Assign:
    return pb.Assign(
        call_id=call_id,
        inputs=[
            pb.Input(index=index, payload=serialize(((index,), {}), "an input"))
            for index in indexes
        ],
        function_id=function_id,
        submitted_ns=now_ns(),
        delivery=1,
        app_id="ap-test",
    )


def test_results_that_were_not_confirmed_are_sent_again_to_the_controller_that_comes_back(
    home: Path,
) -> None:
    async def scenario(h: Harness, controller: Controller, instance: Path) -> None:
        function_id = h.add(same, max_containers=1)
        controller.confirms = False
        async with serving(instance, controller):
            await controller.until(lambda: controller.hellos)
            assert not controller.hellos[0].in_flight
            await controller.order(assign=order(function_id, "fc-1", range(300)))
            await controller.until(lambda: len(controller.results) == 300)
            await controller.order(ack=pb.AckDone(call_id="fc-1", indexes=range(100)))
            await h.uplink.until(lambda: h.node.in_flight.inputs == 200)
        # Killed with 200 results unconfirmed. These come while nobody is there.
        h.node.receiver.assign(order(function_id, "fc-2", range(50)))
        await h.uplink.until(lambda: h.node.in_flight.unconfirmed == 250)
        controller.results.clear()
        controller.messages = 0
        controller.confirms = True
        async with serving(instance, controller):
            await controller.until(lambda: len(controller.results) == 250)
            said = {one.call_id: list(one.indexes) for one in controller.hellos[-1].in_flight}
            assert said == {"fc-1": list(range(100, 300)), "fc-2": list(range(50))}
            assert set(controller.results.values()) == {1}
            assert controller.messages <= 4
            await h.uplink.until(lambda: h.node.in_flight.inputs == 0)

    run_linked(home, scenario)


def test_results_travel_together_over_the_stream(home: Path) -> None:
    async def scenario(h: Harness, controller: Controller, instance: Path) -> None:
        function_id = h.add(same, max_containers=1)
        async with serving(instance, controller):
            await controller.until(lambda: controller.hellos)
            for start in range(0, 4000, 500):
                await controller.order(assign=order(function_id, "fc-1", range(start, start + 500)))
            await controller.until(lambda: len(controller.results) == 4000)
            assert set(controller.results.values()) == {1}
            assert controller.messages < 200

    run_linked(home, scenario)


def test_a_controller_that_is_not_there_yet_is_waited_for_by_its_socket(tmp_path: Path) -> None:
    async def scenario() -> None:
        wanted = tmp_path / "controller.sock"
        waiting = asyncio.create_task(appears(wanted))
        await asyncio.sleep(0)
        (tmp_path / "another").touch()
        await asyncio.sleep(0)
        assert not waiting.done()
        (tmp_path / "draft").touch()
        (tmp_path / "draft").rename(wanted)
        await asyncio.wait_for(waiting, PATIENCE_S)
        await asyncio.wait_for(appears(wanted), PATIENCE_S)
        await asyncio.wait_for(appears(tmp_path / "no" / "directory"), PATIENCE_S)

    asyncio.run(scenario())


def test_an_agent_that_cannot_see_how_it_does_is_heard_of_all_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller gives up one that is silent, with all that runs there."""

    async def scenario(_h: Harness, controller: Controller, instance: Path) -> None:
        async with serving(instance, controller):
            await controller.until(lambda: controller.beats)

            def fails() -> None:
                raise OSError("no descriptor to be had")

            monkeypatch.setattr(psutil, "virtual_memory", fails)
            before = len(controller.beats)
            await controller.until(lambda: len(controller.beats) > before + 1)
            monkeypatch.undo()
        assert len(controller.hellos) == 1
        first, last = controller.beats[0], controller.beats[before + 1]
        assert first.stats.memory_total_bytes == last.stats.memory_total_bytes > 0

    run_linked(home, scenario)
