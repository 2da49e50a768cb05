"""What an agent reports of its GPUs: what there is, who has which, what is used."""

from __future__ import annotations

from rekindle.gpu_restore.inventory import Gpu
from rekindle.gpu_restore.placement.devices import Device, shares_of
from rekindle.runtime.agent.runners.runner import Runner
from rekindle.runtime.agent.starts.gpu_holders import Holding
from rekindle.runtime.agent.starts.node_context import NodeContext
from rekindle.wire import rekindle_pb2 as pb


def of_node(context: NodeContext) -> pb.NodeGpus:
    """All that may be handed out."""
    gpus = context.gpus
    by_index = {gpu.index: gpu for gpu in gpus.allowed.gpus}
    return pb.NodeGpus(
        driver=gpus.found.driver,
        cuda=gpus.found.cuda,
        reason=gpus.why_less(),
        devices=[_device(context, one, by_index[one.index]) for one in gpus.fleet.devices_there()],
        waiting=len(gpus.line),
        preemptions=gpus.preemptions,
    )


def _device(context: NodeContext, device: Device, gpu: Gpu) -> pb.GpuStats:
    gpus, use = context.gpus, context.gpu_use.devices.get(device.uuid)
    runners = [one.owner for one in gpus.fleet.holders(device) if one.owner in gpus.runners()]
    return pb.GpuStats(
        uuid=device.uuid,
        index=device.index,
        name=gpu.name,
        model=device.model,
        profile=device.profile,
        memory_bytes=device.memory_mib << 20,
        used_bytes=use.used_bytes if use is not None else 0,
        foreign_bytes=gpus.fleet.foreign.get(device.uuid, 0) << 20,
        busy_percent=use.busy_percent if use is not None else None,
        runners=runners,
        links=[
            pb.GpuLink(to=other if one == device.uuid else one, how=str(link))
            for (one, other), link in gpus.allowed.links.items()
            if device.uuid in (one, other)
        ],
        numa_node=device.numa_node,
        loans=[
            pb.GpuLoan(to=loan.to, function=loan.function)
            for one in gpus.fleet.holders(device)
            if (loan := gpus.lending.loans.get(one.owner)) is not None
        ],
        holder=_holder(context.gpu_holders.holding(device.uuid)),
    )


def _holder(found: Holding | None) -> pb.GpuHolder | None:
    if found is None:
        return None
    weights = [
        pb.HeldWeights(
            function=one.function,
            size_bytes=one.size_bytes,
            users=one.users,
            is_loading=one.is_loading,
        )
        for one in found.weights
    ]
    return pb.GpuHolder(
        pid=found.pid,
        held_bytes=found.held_bytes,
        budget_bytes=found.budget_bytes,
        weights=weights,
    )


def of_runner(context: NodeContext, runner: Runner) -> pb.RunnerGpus | None:
    """What a runner has, and uses; None where it has none."""
    holding = context.gpus.holding(runner.id)
    if holding is None:
        return None
    use = context.gpu_use.runners.get(runner.id)
    return pb.RunnerGpus(
        uuids=[device.uuid for device in holding.devices],
        gpus=round(shares_of(context.gpus.fleet)[runner.id], 4),
        share_bytes=holding.memory_mib << 20,
        used_bytes=use.used_bytes if use is not None else 0,
        busy_percent=use.busy_percent if use is not None else None,
    )
