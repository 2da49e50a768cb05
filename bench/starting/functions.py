"""What is started: a function without a model, and models with PyTorch of 84 MB and of 4 GB.

Declared again for each instance, since an app runs in one instance at a time. All that runners
execute travels by value, and is the same code each time: instances share their snapshots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import rekindle

APP = "starts-bench"
NO_MODEL, SMALL, LARGE = "no model", "torch, 84 MB", "torch, 4 GB"
#: Layers of a model, and the width of each: width x width numbers of four bytes.
_MODELS = {SMALL: (20, 1024), LARGE: (153, 2560)}
#: A runner that no one calls goes after this: the least that there is.
WINDOW_S = 2


@dataclass(frozen=True)
class Functions:
    """An app, and what can be called in it."""

    app: rekindle.App
    #: By what they hold; each does nothing, and takes as many seconds as it is told to.
    starts: dict[str, Any]
    #: Those whose pools they are: functions, and instances with their parameters.
    pools: dict[str, Any]
    #: A fresh process for every input, with PyTorch.
    fresh: Any


def declare(kinds: tuple[str, ...]) -> Functions:
    """An app for one instance, with the functions of these kinds."""
    app = rekindle.App(APP)

    @app.function(enable_memory_snapshot=True, scaledown_window=WINDOW_S)
    def nothing(seconds: float = 0.0) -> float:
        """Nothing, for so long; how long it took."""
        import time

        began = time.perf_counter()
        if seconds:
            time.sleep(seconds)
        return time.perf_counter() - began

    @app.cls(
        enable_memory_snapshot=True,
        scaledown_window=WINDOW_S,
        timeout=600,
        startup_timeout=600,
    )
    class Model:
        """Linear layers."""

        layers: int = rekindle.parameter()
        width: int = rekindle.parameter()

        @rekindle.enter(snap=True)
        def build(self) -> None:
            """As a model is loaded: import torch, and fill its weights."""
            import torch

            torch.set_num_threads(1)  # a template with more threads is not forked
            weights = torch.rand(self.width, self.width)
            self.net = [weights.clone() for _ in range(self.layers)]

        @rekindle.method()
        def nothing(self, seconds: float = 0.0) -> float:
            """Nothing, for so long; how long it took."""
            import time

            began = time.perf_counter()
            if seconds:
                time.sleep(seconds)
            return time.perf_counter() - began

    @app.cls(enable_memory_snapshot=True, single_use_containers=True, scaledown_window=WINDOW_S)
    class Fresh:
        """PyTorch, and how many inputs a process has had."""

        @rekindle.enter(snap=True)
        def load(self) -> None:
            """Have PyTorch."""
            import torch

            torch.set_num_threads(1)
            self.served = 0

        @rekindle.method()
        def fresh(self, _number: int = 0) -> tuple[int, bool]:
            """How many inputs this process has had, this one too, and whether PyTorch was there."""
            import sys

            self.served += 1
            return self.served, "torch" in sys.modules

    starts: dict[str, Any] = {}
    pools: dict[str, Any] = {}
    for kind in kinds:
        if kind == NO_MODEL:
            starts[kind] = pools[kind] = nothing
        else:
            layers, width = _MODELS[kind]
            model: Any = Model
            pools[kind] = model(layers=layers, width=width)
            starts[kind] = pools[kind].nothing
    fresh: Any = Fresh
    return Functions(app, starts, pools, fresh().fresh)
