"""How GPUs are asked for, and what serves it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rekindle.exception import InvalidError
from rekindle.gpu_restore import models
from rekindle.gpu_restore.placement.devices import Device
from rekindle.gpu_restore.request import parse, priority
from rekindle.wire.gpus import GpuRequest


@pytest.mark.parametrize(
    ("gpu", "memory", "wanted"),
    [
        (None, None, []),
        ("H100", None, ["H100"]),
        ("h100:2", None, ["H100:2"]),
        (" a100-80gb:8 ", None, ["A100-80GB:8"]),
        (["H100", "A100-40GB", "any"], None, ["H100", "A100-40GB", "any"]),
        (("L4", "T4"), None, ["L4", "T4"]),
        ("any", None, ["any"]),
        ("ANY:2", None, ["any:2"]),
        ("H100!", None, ["H100!"]),
        ("H100!:4", None, ["H100!:4"]),
        ("B200+:2", None, ["B200+:2"]),
        ("rtx_4090", None, ["RTX-4090"]),
        ("H100 : 2", None, ["H100:2"]),
        ("RTX 4070 Ti Super", None, ["RTX-4070-TI-SUPER"]),
        ("1g.10gb", None, ["1g.10gb"]),
        ("1G.10GB", None, ["1g.10gb"]),
        ("A100", 8192, ["8192 MiB of A100"]),
        (["L4", "any"], 4000, ["4000 MiB of L4", "4000 MiB of any"]),
    ],
)
def test_what_is_asked_for_is_read(gpu: object, memory: object, wanted: list[str]) -> None:
    assert list(map(str, parse(gpu, memory))) == wanted


@pytest.mark.parametrize(
    ("gpu", "memory", "words"),
    [
        ("H10O", None, ["gpu='H10O'", "did you mean 'H100'"]),
        ("A100-80", None, ["'A100-80'", "A100-80GB"]),
        ("K9", None, ["no model", "'any'"]),
        ("", None, ["names no GPU", "'any'"]),
        (":2", None, ["names no GPU"]),
        ([], None, ["names no GPU"]),
        ("H100:0", None, ["from 1 to 16", "'H100:2'"]),
        ("H100:two", None, ["from 1 to 16"]),
        ("H100:99", None, ["from 1 to 16"]),
        ("H100:", None, ["from 1 to 16"]),
        ("A100+", None, ["only 'B200+'", "'A100'"]),
        ("any!", None, ["write 'any'"]),
        ("1g.10gb:2", None, ["one MIG instance", "'1g.10gb'"]),
        (["H100", "h100"], None, ["H100 twice"]),
        (2, None, ["must be a string", "'any:2'"]),
        (True, None, ["must be a string"]),
        (["H100", None], None, ["must be a string"]),
        (None, 4000, ["gpu='any', gpu_memory=4000"]),
        ("H100:2", 4000, ["a share is of one GPU", "gpu='H100'"]),
        ("1g.10gb", 4000, ["a share already"]),
        ("H100", 0, ["gpu_memory=0", "MiB"]),
        ("H100", 1.5, ["whole number of MiB"]),
        ("H100", True, ["whole number of MiB"]),
        ("any", "8GB", ["gpu_memory='8GB'", "8192 is 8 GiB"]),
        ("any", 8 << 30, ["is in MiB, and no GPU has so many", "8192 is 8 GiB"]),
        ("H100:" + "9" * 5000, None, ["from 1 to 16"]),
    ],
)
def test_what_cannot_be_says_what_to_write(gpu: object, memory: object, words: list[str]) -> None:
    with pytest.raises(InvalidError) as refused:
        parse(gpu, memory)
    for word in words:
        assert word in str(refused.value)


def test_objects_of_older_sdks_are_told_the_string_in_their_place() -> None:
    class A100(SimpleNamespace):
        pass

    with pytest.raises(InvalidError, match="'A100:4'"):
        parse(A100(count=4))


def test_priorities_have_bounds() -> None:
    assert priority(-100) == -100
    for wrong in (101, 1.0, True, "1"):
        with pytest.raises(InvalidError, match="from -100 to 100"):
            priority(wrong)


@pytest.mark.parametrize(
    ("product", "model"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "A100"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A10", "A10"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "RTX-4070-TI-SUPER"),
        ("NVIDIA GeForce RTX 4070", "RTX-4070"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX-6000-ADA"),
        ("NVIDIA RTX A6000", "A6000"),
        ("Quadro RTX 6000", "RTX-6000"),
        ("NVIDIA X9 Turbo", "X9-TURBO"),
    ],
)
def test_products_have_the_names_they_are_asked_for_by(product: str, model: str) -> None:
    assert models.model_of(product) == model


def _device(model: str, memory_mib: int, profile: str = "") -> Device:
    return Device(uuid="x", model=model, memory_mib=memory_mib, profile=profile)


@pytest.mark.parametrize(
    ("device", "asked", "serves"),
    [
        (_device("H100", 81559), "H100", 0),
        (_device("H200", 143771), "H100", 1),
        (_device("H200", 143771), "H100!", None),
        (_device("H100", 81559), "H200", None),
        (_device("A100", 40960), "A100", 0),
        (_device("A100", 40960), "A100-40GB", 0),
        (_device("A100", 40960), "A100-80GB", None),
        (_device("A100", 81920), "A100-80GB", 0),
        (_device("H100", 95830), "H100-80GB", None),
        (_device("V100", 16160), "V100-16GB", 0),
        (_device("A10G", 23028), "A10", 1),
        (_device("B300", 275_000), "B200+", 1),
        (_device("B300", 275_000), "B200", None),
        (_device("T4", 15360), "any", 0),
        (_device("A100", 4864, "1g.5gb"), "1g.5gb", 0),
        (_device("A100", 4864, "1g.5gb"), "A100", None),
        (_device("A100", 4864, "1g.5gb"), "any", None),
        (_device("A100", 40960), "1g.5gb", None),
    ],
)
def test_a_device_serves_what_it_is(device: Device, asked: str, serves: int | None) -> None:
    assert models.serves(device, asked) == serves


def test_every_name_that_is_offered_can_be_asked_for() -> None:
    for name in models.known():
        (request,) = parse(name)
        assert request == GpuRequest(model=name)
