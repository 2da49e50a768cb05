"""PyTorch with its default threads: as a plain fork it hangs."""

from __future__ import annotations

import importlib.util

import pytest

from tests.e2e.harness import Home

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (the demo extra)"
)


@pytest.mark.criu
@pytest.mark.slow
def test_torch_computes_the_same_by_every_strategy(home: Home) -> None:
    script = home.script(
        """
        import json
        import rekindle
        from rekindle.sdk.calls import records
        from rekindle.sdk.running import ask_strategy

        app = rekindle.App("torched")

        @app.cls(enable_memory_snapshot=True, timeout=60)
        class Net:
            @rekindle.enter(snap=True)
            def load(self):
                import torch
                torch.manual_seed(7)
                self.layer = torch.nn.Linear(512, 512)
                self.input = torch.ones(256, 512)
                with torch.no_grad():
                    self.layer(self.input)  # the thread pools are made now

            @rekindle.enter()
            def move(self):
                self.layer = rekindle.gpu.to_device(self.layer, "cpu")

            @rekindle.method()
            def infer(self):
                import torch
                with torch.no_grad():
                    out = self.layer(self.input)
                    for _ in range(20):
                        out = self.layer(out)
                return [float(out.sum()), torch.get_num_threads()]

        @app.local_entrypoint()
        def main():
            found = []
            for strategy in ("", "warm", "cold", "restore", "fork", "restore", "fork"):
                with ask_strategy(strategy), records.collect() as made:
                    if strategy:
                        Net().infer.prepare(strategy)
                    value = Net().infer.remote()
                found.append([made[-1].strategy, "gpu_weights" in made[-1].phases, *value])
            print(json.dumps(found))
        """
    )
    ended = home.run(script)
    taken, moved, sums, threads = zip(*ended.value, strict=True)
    assert list(moved) == [strategy != "warm" for strategy in taken]
    assert list(taken) == ["cold", "warm", "cold", "restore", "fork", "restore", "fork"]
    assert max(sums) - min(sums) <= 1e-4 * abs(sums[0])
    assert len(set(threads)) == 1 and threads[0] >= 1
