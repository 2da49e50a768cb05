"""Which nodes could serve a function that asks for GPUs, and what is counted of GPUs."""

from __future__ import annotations

import asyncio

from rekindle.controller.metrics.metrics import Metrics
from rekindle.controller.metrics.view import view
from rekindle.controller.nodes.gpus import able
from rekindle.controller.settings import Settings
from rekindle.controller.state import Agent, State
from rekindle.gpu_restore.request import parse
from rekindle.wire import rekindle_pb2 as pb


def agent(name: str, *models: str, heartbeats: int = 1, mib: int = 24_000) -> Agent:
    """One that has reported GPUs of these models."""
    devices = [
        pb.GpuStats(uuid=f"{name}-{i}", model=model, index=i, memory_bytes=mib << 20)
        for i, model in enumerate(models)
    ]
    made = Agent(name, name, 1, False, 4, 8, heartbeats=heartbeats)
    made.stats = pb.NodeStats(gpus=pb.NodeGpus(devices=devices))
    return made


def names(agents: list[Agent], gpu: object, memory: int | None = None) -> list[str]:
    return [one.agent_id for one in able(agents, parse(gpu, memory))]


def test_nodes_that_could_serve_it_are_left() -> None:
    agents = [agent("plain"), agent("l4", "L4", "L4"), agent("h200", "H200", mib=143_771)]
    assert names(agents, None) == ["plain", "l4", "h200"]
    assert names(agents, "L4:2") == ["l4"]
    assert names(agents, "H100") == ["h200"]
    assert names(agents, ["H100!", "L4"]) == ["l4"]
    assert names(agents, "any", 100_000) == ["h200"]


def test_where_none_could_any_may_say_so() -> None:
    agents = [agent("plain"), agent("l4", "L4")]
    assert names(agents, "B200") == ["plain", "l4"]


def test_a_node_that_has_not_reported_yet_may_have_it() -> None:
    agents = [agent("plain"), agent("new", heartbeats=0)]
    assert names(agents, "B200") == ["new"]


def test_gpus_are_measured_by_node_and_by_function() -> None:
    async def scenario() -> None:
        state = State("instance")
        one = agent("node", "L4", "L4")
        one.outbox = asyncio.Queue()
        one.stats.gpus.waiting = 2
        one.stats.gpus.preemptions = 3
        one.stats.gpus.devices[0].used_bytes = 5 << 20
        one.stats.gpus.devices[0].busy_percent = 40
        one.stats.gpus.devices[1].loans.add(to="spare", function="app.f")
        held = one.stats.gpus.devices[0].holder
        held.weights.add(function="app.f", size_bytes=7 << 20, users=2)
        for part in (0.25, 0.5):
            gpus = pb.RunnerGpus(uuids=["node-0"], gpus=part, share_bytes=1)
            one.stats.runners.add(function_id="fu", gpus=gpus)
        state.agents["node"] = one
        tables = view(Metrics(state, Settings()), state, pb.StatusReply()).by_name
        first = ("node", "node-0", "L4")
        assert tables["rekindle_gpu_memory_bytes"].values[*first, "used"] == 5 << 20
        assert tables["rekindle_gpu_memory_bytes"].values[*first, "total"] == 24_000 << 20
        assert tables["rekindle_gpu_busy_ratio"].values == {first: 0.4}
        assert tables["rekindle_gpu_held_ratio"].values == {
            first: 0.75,
            ("node", "node-1", "L4"): 0.0,
        }
        assert tables["rekindle_gpu_lent"].values == {("node", "node-1", "L4", "spare"): 1}
        assert tables["rekindle_gpu_weights_bytes"].values == {(*first, "app.f"): 7 << 20}
        assert tables["rekindle_gpu_weights_users"].values == {(*first, "app.f"): 2}
        assert tables["rekindle_gpu_waiting_pools"].values == {("node",): 2}
        assert tables["rekindle_gpu_preemptions_total"].values == {("node",): 3}

    asyncio.run(scenario())
