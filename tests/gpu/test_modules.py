"""Modules on a real GPU: what is there is what was sent, and it computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rekindle
from tests import optional

pytestmark = optional.needs("torch")
torch = optional.module("torch")
weights = optional.module("tests.gpu_restore.weights")


def test_a_module_arrives_as_it_was(torch_cuda: Any) -> None:
    module = weights.Everything()
    before = weights.copy_of(module)
    rekindle.gpu.to_device(module)
    for name, one in [*module.named_parameters(), *module.named_buffers()]:
        assert one.device.type == "cuda", name
        assert torch.equal(one.cpu(), before[name]), name
        assert one.stride() == before[name].stride() and one.dtype == before[name].dtype
        assert one.requires_grad == before[name].requires_grad


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_results_are_the_cpus_within_the_tolerance_of_the_type(torch_cuda: Any, dtype: str) -> None:
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    module = torch.nn.Sequential(
        torch.nn.Linear(512, 2048), torch.nn.GELU(), torch.nn.Linear(2048, 512)
    ).to(kind)
    given = torch.randn(16, 512).to(kind)
    with torch.no_grad():
        expected = module(given).float()
        found = rekindle.gpu.to_device(module)(given.cuda()).cpu().float()
    tolerance = {"float32": 1e-4, "bfloat16": 3e-2}[dtype]
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def test_an_lstm_and_a_training_step_work(torch_cuda: Any) -> None:
    module = rekindle.gpu.to_device(torch.nn.LSTM(8, 8))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    out, _ = module(torch.randn(3, 2, 8, device="cuda"))
    out.sum().backward()
    optimizer.step()
    assert all(torch.isfinite(one).all() for one in module.parameters())


def test_safetensors_are_loaded_onto_the_gpu(torch_cuda: Any, tmp_path: Path) -> None:
    tensors = {"a": torch.randn(300, 7), "b": torch.randn(5).to(torch.bfloat16)}
    weights.save(tmp_path / "w", tensors)
    found = rekindle.gpu.load_safetensors(tmp_path / "w")
    for name, one in tensors.items():
        assert found[name].is_cuda and torch.equal(found[name].cpu(), one)


def test_memory_comes_back_when_the_module_goes(torch_cuda: Any) -> None:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    module = rekindle.gpu.to_device(torch.nn.Linear(1024, 1024))
    assert torch.cuda.memory_allocated() - before >= 4 << 20
    del module
    assert torch.cuda.memory_allocated() == before
