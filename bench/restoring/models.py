"""What is started: a function without any model, and a model of a wished size.

Declared again for each instance, since an app runs in one instance at a time. All that runners
execute travels by value, and is the same code each time: instances share their snapshots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import rekindle

#: One layer: 2560 x 2560 numbers of four bytes, allocated as an area of its own.
LAYER_SIDE = 2560
LAYER_BYTES = 4 * LAYER_SIDE * LAYER_SIDE

#: How a call touches a tenth of a model; scattered, it is in pieces of 64 KiB, anywhere.
PATTERNS = ("contiguous", "scattered")


def layers_of(gigabytes: float) -> int:
    """Layers of a model of about that size."""
    return max(1, round(gigabytes * 1e9 / LAYER_BYTES))


@dataclass(frozen=True)
class Models:
    """An app, and what can be called in it."""

    app: rekindle.App
    nothing: Any  # a Function
    model: Any  # a Cls: model(layers=4).nothing


def declare() -> Models:
    """An app for one instance."""
    app = rekindle.App("restore-bench")

    @app.function(enable_memory_snapshot=True)
    def nothing() -> None:
        """Nothing."""

    @app.cls(enable_memory_snapshot=True, timeout=900, startup_timeout=900)
    class Model:
        """Linear layers with random weights."""

        layers: int = rekindle.parameter()

        @rekindle.enter(snap=True)
        def build(self) -> None:
            """As a model is loaded: import torch, and fill its weights."""
            import torch

            side = 2560
            self.net = [torch.nn.Linear(side, side, bias=False) for _ in range(self.layers)]

        @rekindle.method()
        def nothing(self) -> None:
            """Nothing."""

        @rekindle.method()
        def touch(self, pattern: str) -> int:
            """Read a number of each page in a tenth of the model; the bytes that were touched."""
            import random

            import torch

            piece = (64 << 10) // 4
            with torch.no_grad():
                flat = [layer.weight.view(-1) for layer in self.net]
                each = flat[0].numel() // piece
                every = range(each * len(flat))
                wanted = len(every) // 10
                scattered = random.Random(7).sample(every, wanted)
                for place in scattered if pattern == "scattered" else every[:wanted]:
                    start = place % each * piece
                    flat[place // each][start : start + piece : 1024].sum()
            return wanted * piece * 4

        @rekindle.method()
        def read_all(self, meeting: str, runners: int) -> int:
            """Read all of the model, wait until ``runners`` have; this one's share of memory."""
            import os
            import time

            import torch

            with torch.no_grad():
                for layer in self.net:
                    layer.weight.view(-1)[::1024].sum()
            deadline = time.monotonic() + 600

            def meet(stage: str) -> None:
                os.mkdir(os.path.join(meeting, f"{stage}-{os.environ['REKINDLE_RUNNER_ID']}"))
                while sum(name.startswith(stage) for name in os.listdir(meeting)) < runners:
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"fewer than {runners} runners have {stage}")
                    time.sleep(0.01)

            meet("read")
            with open("/proc/self/smaps_rollup") as rollup:
                pss = next(line for line in rollup if line.startswith("Pss:"))
            meet("measured")
            return int(pss.split()[1]) << 10

    return Models(app, nothing, Model)
