"""Which nodes could serve a function that asks for GPUs, by what their agents report.

Which devices it gets there, its agent says (runtime/agent/gpus.py). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rekindle.controller.state import Agent
from rekindle.gpu_restore.placement.devices import Device, Fleet, Node
from rekindle.gpu_restore.placement.options import options
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.gpus import GpuRequest


def able(agents: Iterable[Agent], wanted: Sequence[GpuRequest]) -> list[Agent]:
    """Agents whose GPUs would do, busy or not; all of them where none would.

    Then the one that is chosen says at once what there is in place of it.
    """
    known = list(agents)
    if not wanted:
        return known
    return [agent for agent in known if _could(agent, wanted)] or known


def _could(agent: Agent, wanted: Sequence[GpuRequest]) -> bool:
    if not agent.heartbeats:
        return True  # it has not said yet
    return bool(options(Fleet([node_of(agent.agent_id, agent.stats.gpus)]), wanted))


def node_of(name: str, reported: pb.NodeGpus) -> Node:
    """The devices of a node, as placement sees them; who holds them is not looked at."""
    return Node(
        name,
        tuple(
            Device(
                uuid=one.uuid,
                model=one.model,
                memory_mib=one.memory_bytes >> 20,
                index=one.index,
                profile=one.profile,
                numa_node=one.numa_node if one.HasField("numa_node") else None,
            )
            for one in reported.devices
        ),
    )
