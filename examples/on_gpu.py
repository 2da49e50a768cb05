"""Weights on a GPU: loaded once, frozen on the CPU, moved to the device in each runner.

rekindle run examples/on_gpu.py
rekindle run --phases examples/on_gpu.py --inputs 8

The template holds the model in ordinary memory, so it can be frozen and forked. Each runner brings
its GPU up (phase gpu_context) and moves the weights over (gpu_weights). With `hold=True` they stay
on the device when the runner ends: the next one of this function moves nothing. Where PyTorch is
not here, all of it runs in an image that has it: the first run builds it.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import rekindle

if TYPE_CHECKING:
    import torch

image = None
if importlib.util.find_spec("torch") is None:
    image = rekindle.Image.debian_slim().pip_install("torch==2.13.0")
app = rekindle.App("on-gpu", image=image)

WIDTH, LAYERS = 1024, 8


def build() -> torch.nn.Module:
    """A tower of linear layers, the same each time."""
    import torch

    torch.manual_seed(7)
    layers = [torch.nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)]
    return torch.nn.Sequential(*layers).eval().requires_grad_(False)


@app.cls(gpu="any", enable_memory_snapshot=True)
class Tower:
    @rekindle.enter(snap=True)
    def load(self) -> None:
        self.model = build()

    @rekindle.enter()
    def to_gpu(self) -> None:
        self.device = rekindle.gpu.ready().names[0]
        self.model = rekindle.gpu.to_device(self.model, hold=True)

    @rekindle.method()
    def norm(self, number: int) -> tuple[str, float]:
        """Where it ran, and the length of what came out."""
        import torch

        row = torch.full((1, WIDTH), float(number), device="cuda")
        return self.device, float(self.model(row).norm())


@app.function()
def on_cpu(number: int) -> float:
    """What it should be."""
    import torch

    return float(build()(torch.full((1, WIDTH), float(number))).norm())


@app.local_entrypoint()
def main(inputs: int = 4) -> None:
    for number, (device, length) in enumerate(Tower().norm.map(range(inputs))):
        expected = on_cpu.remote(number)
        off = abs(length - expected) / expected
        print(f"{number}: {length:.4f} on {device}; this machine's CPU says {expected:.4f}")
        assert off < 1e-2, f"{off:.1%} apart"
