"""What ``strategies.py`` runs in rekindle: a model whose weights go to the device in every runner.

Ready for a GPU or not: where ``REKINDLE_BENCH_PLACE`` is cpu, the device is this machine's memory.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

import rekindle

PLACE = os.environ.get("REKINDLE_BENCH_PLACE", "cuda")
#: "held": weights stay on the device; "snapshot": GPU snapshots; "spare": spares have a context.
WAY = os.environ.get("REKINDLE_BENCH_WAY", "")

app = rekindle.App("on-gpu")


def _options() -> dict[str, Any]:
    more: dict[str, Any] = {"env": {"REKINDLE_BENCH_PLACE": PLACE}}
    if WAY == "held":  # as a secret: its template, and its snapshot, are those of the other ways
        more["secrets"] = [rekindle.Secret.from_dict({"REKINDLE_BENCH_HOLD": "1"})]
    if asks := os.environ.get("REKINDLE_BENCH_ASKS"):
        more["gpu"] = asks
        if WAY == "snapshot":
            more["enable_gpu_snapshot"] = True
        elif WAY == "spare":
            more |= {"gpu_spares": 1, "spare_containers": 1}
    return more


def _cls(**options: Any) -> Any:
    return app.cls(enable_memory_snapshot=True, timeout=300, **options)


@_cls(**_options())
class Model:
    """Linear layers of that many megabytes."""

    megabytes: int = rekindle.parameter(default=1000)

    @rekindle.enter(snap=True)
    def load(self) -> None:
        import torch

        from on_gpu.modules import build

        self.module = build(torch, self.megabytes / 1000)
        self.given = torch.linspace(-1, 1, 4 * 4096).view(4, 4096)
        with torch.no_grad():
            self.expected = self.module(self.given)

    @rekindle.enter(snap="gpu")
    def to_gpu(self) -> None:
        if PLACE == "cuda":
            rekindle.gpu.ready()
        hold = "REKINDLE_BENCH_HOLD" in os.environ
        self.module = rekindle.gpu.to_device(self.module, PLACE, hold=hold)
        self.given = self.given.to(PLACE)

    @rekindle.method()
    def infer(self) -> float:
        """How far the result is from the CPU's, relative."""
        import torch

        with torch.no_grad():
            found = self.module(self.given).cpu()
        return float((found - self.expected).abs().max() / self.expected.abs().max())


@_cls(**_options())
class Embedding:
    """The network of examples/embed.py with random weights: they come with no bundle."""

    @rekindle.enter(snap=True)
    def load(self) -> None:
        import torch
        from transformers import BertConfig, BertModel

        torch.manual_seed(5)
        config = BertConfig(
            hidden_size=384,
            num_hidden_layers=6,
            num_attention_heads=12,
            intermediate_size=1536,
        )
        made: Any = BertModel(config)
        self.module = made.eval()
        self.given = torch.randint(0, 30000, (8, 64))
        with torch.no_grad():
            self.expected = self.module(self.given).last_hidden_state

    @rekindle.enter()
    def to_gpu(self) -> None:
        if PLACE == "cuda":
            rekindle.gpu.ready()
        self.module = rekindle.gpu.to_device(self.module, PLACE)
        self.given = self.given.to(PLACE)

    @rekindle.method()
    def infer(self) -> float:
        """As Model's."""
        import torch

        with torch.no_grad():
            found = self.module(self.given).last_hidden_state.cpu()
        return float((found - self.expected).abs().max() / self.expected.abs().max())


@_cls(**_options())
class Plain:
    """Weights of that many megabytes without torch: bytes, and whether they arrived."""

    megabytes: int = rekindle.parameter(default=1000)

    @rekindle.enter(snap=True)
    def load(self) -> None:
        self.size = self.megabytes * 10**6
        block = os.urandom(1 << 20)
        self.weights = bytearray(block) * (self.size // len(block) + 1)

    @rekindle.enter(snap="gpu")
    def to_gpu(self) -> None:
        from rekindle.gpu_restore import marks
        from rekindle.gpu_restore.copying import Arena, Memory, Piece, transfer
        from rekindle.gpu_restore.device import Device, cuda_device
        from rekindle.gpu_restore.host_device import HostDevice
        from rekindle.wire.phases import Phase

        if PLACE == "cuda":
            rekindle.gpu.ready()
        self.device: Device = cuda_device(0) if PLACE == "cuda" else HostDevice()
        self.address = self.device.allocate(self.size)
        source = ctypes.addressof(ctypes.c_ubyte.from_buffer(self.weights))
        pieces = [Piece(0, self.size, Memory(source))]
        with marks.phase(Phase.GPU_WEIGHTS):
            done = transfer(self.device, [Arena(self.address, self.size, pieces)])
        marks.note(f"weights: {done.in_words()}")

    @rekindle.method()
    def infer(self) -> float:
        """0.0: a sample of what is on the device is what was loaded; 1.0: it is not."""
        part = bytearray(1 << 16)
        for at in range(0, self.size - len(part), self.size // 16):
            self.device.read(self.address + at, part)
            if part != self.weights[at : at + len(part)]:
                return 1.0
        return 0.0
