"""``rekindle status`` on a node with GPUs."""

from __future__ import annotations

import io

from rich.console import Console

from rekindle.cli import status
from rekindle.wire import rekindle_pb2 as pb


def test_status_says_who_has_which_gpu() -> None:
    devices = [
        pb.GpuStats(
            uuid="GPU-1",
            model="A100",
            memory_bytes=80 << 30,
            used_bytes=9 << 30,
            busy_percent=70,
            runners=["ru-1", "ru-2"],
        ),
        pb.GpuStats(uuid="MIG-1", model="A100", profile="1g.10gb", index=1, foreign_bytes=1 << 30),
        pb.GpuStats(
            uuid="GPU-2",
            model="L4",
            loans=[pb.GpuLoan(to="spare", function="app.embed")],
            holder=pb.GpuHolder(
                held_bytes=3 << 30,
                budget_bytes=12 << 30,
                weights=[
                    pb.HeldWeights(function="app.embed", size_bytes=2 << 30, users=2),
                    pb.HeldWeights(function="app.rank", size_bytes=1 << 30, is_loading=True),
                ],
            ),
        ),
    ]
    runners = [pb.RunnerStats(id=f"ru-{i}", function="embed") for i in (1, 2)]
    stats = pb.NodeStats(gpus=pb.NodeGpus(devices=devices), runners=runners)
    out = io.StringIO()
    Console(file=out, width=220).print(status._gpus([pb.AgentStatus(host="node", stats=stats)]))
    lines = out.getvalue().splitlines()
    first, second = [line for line in lines if "A100" in line]
    (third,) = [line for line in lines if "L4" in line]
    for part in ("0 A100", "80.0 GiB", "9.0 GiB", "70%", "embed (ru-1), embed (ru-2)"):
        assert part in first
    for part in ("1 A100 1g.10gb", "1.0 GiB", "?", "free"):
        assert part in second
    for part in (
        "a spare of app.embed",
        "3.0 GiB of 12.0 GiB: app.embed (2 runners), app.rank (loa",
    ):
        assert part in third
