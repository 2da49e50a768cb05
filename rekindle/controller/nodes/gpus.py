"""Which nodes could serve a function that asks for GPUs, by what their agents report.

Which devices it gets there, its agent says (runtime/agent/gpus.py). Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rekindle.controller.state import Agent
from rekindle.gpu_restore.placement.devices import Device, Fleet, Node
from rekindle.gpu_restore.placement.options import options
from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.gpus import GpuRequest


def able(agents: Collection[Agent], wanted: Sequence[GpuRequest]) -> Collection[Agent]:
    """Agents whose GPUs would do, busy or not; all of them where none would.

    Then the one that is chosen says at once what there is in place of it.
    """
    if not wanted:
        return agents
    return [agent for agent in agents if _could(agent, wanted)] or agents


def _could(agent: Agent, wanted: Sequence[GpuRequest]) -> bool:
    if not agent.heartbeats:
        return True  # it has not said yet
    return bool(options(Fleet([_node_of(agent.agent_id, agent.stats.gpus)]), wanted))


def _node_of(name: str, reported: pb.NodeGpus) -> Node:
    """The devices of a node, as placement sees them; who holds them is not looked at.

    Nor how they are linked, or to which processors: groups of them need not be told apart.
    """
    return Node(
        name,
        tuple(
            Device(
                uuid=one.uuid,
                model=one.model,
                memory_mib=one.memory_bytes >> 20,
                index=one.index,
                profile=one.profile,
            )
            for one in reported.devices
        ),
    )
