"""Modules and files to a device, by the engine: what torch's own way gives, and ties kept.

The device is this machine's memory; the code is that of a GPU but for the driver's calls.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import rekindle
from rekindle.exception import GpuError, InvalidError
from rekindle.gpu_restore import layout
from tests import optional

pytestmark = optional.needs("torch")
torch = optional.module("torch")
weights = optional.module("tests.gpu_restore.weights")


def _same(one: Any, other: Any) -> bool:
    return bool(
        torch.equal(one, other)
        and one.dtype == other.dtype
        and one.stride() == other.stride()
        and one.requires_grad == other.requires_grad
    )


def test_a_module_has_the_same_values_types_strides_and_gradients() -> None:
    module = weights.Everything()
    before = weights.copy_of(module)
    was = [one.data_ptr() for one in module.parameters()]
    assert rekindle.gpu.to_device(module, "cpu") is module
    after = dict([*module.named_parameters(), *module.named_buffers()])
    assert after.keys() == before.keys()
    for name, one in after.items():
        assert _same(one, before[name]), name
    assert not set(was) & {one.data_ptr() for one in module.parameters()}


def test_parameters_stay_the_objects_that_an_optimizer_holds() -> None:
    module = torch.nn.Linear(4, 4)
    objects = list(map(id, module.parameters()))
    module(torch.ones(4)).sum().backward()
    gradient = module.weight.grad.clone()
    rekindle.gpu.to_device(module, "cpu")
    assert list(map(id, module.parameters())) == objects
    assert torch.equal(module.weight.grad, gradient)


def test_tied_weights_and_views_of_one_tensor_stay_tied() -> None:
    base = torch.arange(100, dtype=torch.float32)
    module = torch.nn.Module()
    module.first = torch.nn.Parameter(base[:60])
    module.second = torch.nn.Parameter(base[40:].view(3, 20).t())
    module.register_buffer("third", base[10])
    rekindle.gpu.to_device(module, "cpu")
    with torch.no_grad():
        module.first[50] = -1
        module.first[10] = -2
    assert module.second.t().reshape(-1)[10] == -1 and module.third == -2


def test_a_small_view_of_a_large_tensor_is_moved_alone() -> None:
    large = torch.zeros(1 << 22)
    rekindle.gpu.to_device({"small": large[5:10]}, "cpu")
    assert rekindle.gpu.transfers()[-1].size == 20


def test_modules_compute_the_same() -> None:
    torch.manual_seed(3)
    module = torch.nn.Sequential(torch.nn.LSTM(8, 8, num_layers=2))
    given = torch.randn(5, 2, 8)
    with torch.no_grad():
        expected, _ = module(given)
        rekindle.gpu.to_device(module, "cpu")
        found, _ = module(given)
    assert torch.equal(found, expected)


def test_what_is_not_plain_memory_goes_by_torchs_own_way() -> None:
    sparse = torch.eye(3).to_sparse()
    conjugated = torch.ones(2, dtype=torch.complex64).conj()
    found = rekindle.gpu.to_device({"s": sparse, "c": [conjugated, torch.empty(0)]}, "cpu")
    assert torch.equal(found["s"].to_dense(), torch.eye(3))
    assert torch.equal(found["c"][0], conjugated) and found["c"][1].shape == (0,)


def test_neighbours_fill_an_arena_and_a_large_one_has_its_own() -> None:
    tensors = [torch.zeros(n) for n in (100, 100, 5000, 100)]
    planned = layout.lay_out(tensors, arena_bytes=4096)
    assert sum(planned.sizes) >= 4 * 5300
    assert max(planned.sizes) == 20000
    places = sorted((v.arena, v.offset) for v in planned.views.values())
    assert all(offset % layout.ALIGNMENT == 0 for _arena, offset in places)


def test_what_cannot_be_moved_is_named() -> None:
    with pytest.raises(TypeError, match="not str"):
        rekindle.gpu.to_device("weights", "cpu")


def test_a_build_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C, "_cuda_init", raising=False)
    with pytest.raises(GpuError, match="without CUDA"):
        rekindle.gpu.to_device(torch.ones(1))


# ---- safetensors -----------------------------------------------------------------------------


def test_tensors_of_safetensors_files_are_loaded_by_name(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(30, 7),
        "b": torch.randn(5).to(torch.bfloat16),
        "c": torch.tensor(3),
        "d": torch.tensor([True, False, True]),
        "e": torch.empty(0, 2),
    }
    weights.save(tmp_path / "one.safetensors", {name: tensors[name] for name in "abc"})
    weights.save(tmp_path / "two.safetensors", {name: tensors[name] for name in "de"})
    found = rekindle.gpu.load_safetensors(
        [tmp_path / "one.safetensors", tmp_path / "two.safetensors"], "cpu"
    )
    assert found.keys() == tensors.keys()
    for name, one in tensors.items():
        assert _same(found[name], one), name


def test_a_module_takes_what_was_loaded(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 4)
    weights.save(tmp_path / "w", dict(module.state_dict()))
    other = torch.nn.Linear(3, 4, device="meta")
    other.load_state_dict(rekindle.gpu.load_safetensors(tmp_path / "w", "cpu"), assign=True)
    given = torch.ones(3)
    assert torch.equal(other(given), module(given))


def test_a_truncated_file_is_refused_before_anything_is_copied(tmp_path: Path) -> None:
    path = tmp_path / "w"
    weights.save(path, {"a": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(GpuError, match=r"tensor 'a' .* truncated or damaged"):
        rekindle.gpu.load_safetensors(path, "cpu")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        (1 << 60).to_bytes(8, "little"),
        (9).to_bytes(8, "little") + b"not json!",
        (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w"
    path.write_bytes(content)
    with pytest.raises(GpuError, match=str(path)):
        rekindle.gpu.load_safetensors(path, "cpu")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"dtype": "Q4", "shape": [1], "data_offsets": [0, 4]}, "a type that is not known: Q4"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, "4 bytes for 2 elements"),
        ({"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}, "has the shape"),
        ({"dtype": "F32", "shape": [1]}, "data_offsets"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, entry: Any, says: str) -> None:
    text = json.dumps({"x": entry}).encode()
    (tmp_path / "w").write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(GpuError, match=says):
        rekindle.gpu.load_safetensors(tmp_path / "w", "cpu")


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        weights.save(tmp_path / name, {"same": torch.ones(1)})
    with pytest.raises(GpuError, match="'same' is there twice"):
        rekindle.gpu.load_safetensors([tmp_path / "a", tmp_path / "b"], "cpu")


@pytest.mark.parametrize("place", ["gpu", "cuda:x", "", -1, 1.5, True])
def test_what_names_no_device_is_refused_with_what_to_write(place: Any) -> None:
    with pytest.raises(InvalidError, match="write 'cuda', 'cuda:1' or 'cpu'"):
        rekindle.gpu.to_device(torch.ones(1), place)


def test_a_number_is_a_gpus_also_where_there_is_none() -> None:
    if hasattr(torch._C, "_cuda_init"):
        pytest.skip("this torch is built with CUDA")
    with pytest.raises(GpuError, match="without CUDA"):
        rekindle.gpu.to_device(torch.ones(1), 1)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_a_number_of_threads_that_is_none_is_refused(threads: Any) -> None:
    with pytest.raises(InvalidError, match="threads="):
        rekindle.gpu.to_device(torch.ones(1), "cpu", threads=threads)
