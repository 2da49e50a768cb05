"""PyTorch with its default threads through every strategy: as a plain fork, it hangs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.agent.harness import Harness, run

pytestmark = [
    pytest.mark.criu,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("torch") is None,
        reason="PyTorch is not installed (the demo extra)",
    ),
]


class Model:
    """A few layers, and a batch large enough for torch to use all its threads."""

    def load(self) -> None:
        import torch

        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(*[torch.nn.Linear(256, 256) for _ in range(4)])
        self.batch = torch.randn(512, 256)
        self.forward()

    def forward(self) -> Any:
        import torch

        with torch.no_grad():
            return self.layers(self.batch).numpy()

    def threads(self) -> int:
        import torch

        return int(torch.get_num_threads())


class EagerModel(Model):
    """Asks for two threads while it loads, so that a pool is alive when the template parks."""

    def load(self) -> None:
        import torch

        torch.set_num_threads(2)
        Model.load(self)

    forward = Model.forward
    threads = Model.threads


def test_torch_computes_the_same_by_every_strategy_with_its_threads(home: Path) -> None:
    import numpy

    async def scenario(h: Harness) -> None:
        model = h.add(Model, enable_memory_snapshot=True, env={"OMP_NUM_THREADS": "2"})
        first = (await h.call(model, "forward")).value
        assert (await h.prepare(model, "restore")).ok
        assert (await h.prepare(model, "fork")).ok
        for strategy in ("cold", "restore", "fork", "warm"):
            outcome = await h.call(model, "forward", strategy=strategy)
            assert outcome.strategy == strategy
            assert numpy.allclose(outcome.value, first, atol=1e-6)
        for strategy in ("restore", "fork"):
            assert (await h.call(model, "threads", strategy=strategy)).value == 2

    run(home, scenario)


def test_torch_with_a_live_thread_pool_is_restored_and_never_forked(home: Path) -> None:
    import numpy

    async def scenario(h: Harness) -> None:
        model = h.add(EagerModel, enable_memory_snapshot=True)
        first = (await h.call(model, "forward")).value
        prepared = await h.prepare(model, "fork")
        assert not prepared.ok and "thread" in prepared.reason
        assert (await h.prepare(model, "restore")).ok
        for _ in range(3):
            outcome = await h.call(model, "forward", strategy="restore")
            assert numpy.allclose(outcome.value, first, atol=1e-6)

    run(home, scenario)
