"""What is recorded of inputs, starts and direct calls, for policies and for tuning."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.spec import params_digest
from tests.controller.fake_agent import FakeAgent
from tests.controller.harness import PATIENCE_S, Client, Instance, in_loop
from tests.controller.pools.agents import beat, recorded, spec, until


@in_loop
async def test_arrivals_and_service_times_are_recorded_across_restarts(
    instance: Instance,
) -> None:
    async with Client(instance) as client, FakeAgent(instance) as agent:
        _, [function_id] = await client.register("seen", spec())

        def answer(assign: pb.Assign) -> pb.Result:
            return pb.Result(
                call_id=assign.call_id, index=assign.inputs[0].index, status=pb.SUCCESS
            )

        agent.answer(answer)
        await client.invoke(function_id)
        call_id = await client.submit(function_id, dict.fromkeys(range(7), b"x"))
        assert len(await client.results(call_id)) == 7
        report = await recorded(client, "seen.f")
        [series] = report["series"]
        assert sum(series["arrivals"]["count"]) == 8
        assert sum(series["minutes"]["count"]) == 8
        assert series["arrivals"]["at"][0] == pytest.approx(report["now"], abs=60)
        instance.kill_controller()
        instance.start_controller()
        report = await recorded(client, "seen.f")
        [series] = report["series"]
        assert sum(series["arrivals"]["count"]) == 8
        assert report["running"]


@in_loop
async def test_the_record_of_a_function_outlives_its_app(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        app_id, [function_id] = await client.register("gone", spec())
        await client.submit(function_id, {0: b"x"})
        async with asyncio.timeout(PATIENCE_S):
            await agent.assigned.get()
        await client.call("CloseApp", pb.CloseAppRequest(app_id=app_id))
        report = await recorded(client, "gone.f")
        assert not report["running"]
        assert sum(report["series"][0]["arrivals"]["count"]) == 1
        with pytest.raises(grpc.aio.AioRpcError, match=r"did you mean .*gone\.f"):
            await recorded(client, "gone.ff")


@in_loop
async def test_heartbeats_tell_what_starts_and_levels_cost(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("costs", spec(enable_memory_snapshot=True))
        starts = [
            pb.RunnerStart(
                seq=i + 1,
                function_id=function_id,
                runner_id=f"ru-{i}",
                strategy=strategy,
                phases_ms={strategy if strategy != "cold" else "import": ms},
                at_ns=1,
            )
            for i, (strategy, ms) in enumerate([("cold", 4000.0), ("restore", 40.0), ("fork", 9.0)])
        ]
        pool = pb.HeldPool(
            function_id=function_id,
            idle=1,
            runner_bytes=50 << 20,
            snapshot_bytes=900 << 20,
            mapped=True,
            threads=1,
        )
        for _ in range(2):  # a heartbeat repeats itself
            await beat(agent, starts=starts, held=[pool])

        async def measured() -> dict[str, Any] | None:
            report = await recorded(client, "costs.f")
            return report if report["starts"].get("fork") else None

        report = await until(measured)
        levels = report["levels"]
        assert levels["none"]["start_s"] == pytest.approx(4.0)
        assert levels["cached"]["start_s"] == pytest.approx(0.04)
        assert levels["mapped"]["start_s"] == pytest.approx(0.009)
        assert levels["warm"]["memory_bytes"] == 50 << 20
        assert report["starts"]["cold"]["count"] == 1
        assert report["measured"]["fork"] and not report["measured"]["template_bytes"]


@in_loop
async def test_direct_calls_that_agents_tell_of_are_arrivals(shared: Instance) -> None:
    async with Client(shared) as client, FakeAgent(shared) as agent:
        _, [function_id] = await client.register("direct", spec())
        before, total = (
            pb.DirectCalls(
                function_id=function_id, params=b"p", calls=calls, busy_s=calls / 10, leases=1
            )
            for calls in (10, 14)
        )
        await beat(agent, direct=[before])  # from before this controller's time
        await beat(agent, direct=[total])

        async def counted() -> Any:
            report = await recorded(client, "direct.f")
            return report["series"]

        [series] = await until(counted)
        assert sum(series["arrivals"]["count"]) == 4
        assert series["params"] == params_digest(b"p")  # and not those of another instance
        assert series["service"]["mean_s"] == pytest.approx(0.1)
