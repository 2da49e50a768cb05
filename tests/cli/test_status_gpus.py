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
    ]
    runners = [pb.RunnerStats(id=f"ru-{i}", function="embed") for i in (1, 2)]
    stats = pb.NodeStats(gpus=pb.NodeGpus(devices=devices), runners=runners)
    out = io.StringIO()
    Console(file=out, width=160).print(status._gpus([pb.AgentStatus(host="node", stats=stats)]))
    first, second = [line for line in out.getvalue().splitlines() if "A100" in line]
    for part in ("0 A100", "80.0 GiB", "9.0 GiB", "70%", "embed (ru-1), embed (ru-2)"):
        assert part in first
    for part in ("1 A100 1g.10gb", "1.0 GiB", "?", "free"):
        assert part in second
