"""Torch modules to the device: ``to_device`` beside ``module.to``, and both compute the same."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rekindle
from on_gpu import torch_here
from on_gpu.report import Options, Report

GB = 10**9
WIDTH = 4096


def small(report: Report, options: Options) -> None:
    """1 GB."""
    _measure(report, options, 1.0, 5)


def large(report: Report, options: Options) -> None:
    """8 GB; without the file of them, which takes a disk longer to write than all of the rest."""
    _measure(report, options, 8.0, 2, has_file=False)


def build(torch: Any, gigabytes: float) -> Any:
    """Linear layers of 4096 by 4096 floats, with values that differ, made in seconds."""
    layers = max(2, round(gigabytes * GB / (4 * WIDTH * WIDTH)))
    torch.manual_seed(1)
    pattern = torch.randn(WIDTH * WIDTH // 8)
    with torch.device("meta"):
        module = torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH) for _ in range(layers)))
    module.to_empty(device="cpu")
    with torch.no_grad():
        for number, layer in enumerate(module):
            layer.weight.view(8, -1).copy_(pattern * (0.02 + number * 1e-4))
            layer.bias.fill_(0.01)
    return module.eval()


def _measure(
    report: Report, options: Options, gigabytes: float, times: int, *, has_file: bool = True
) -> None:
    if why := torch_here.why_not(options):
        report.missing("modules", why)
        return
    import torch

    place = "cpu" if options.stand_in else "cuda"
    if options.stand_in or options.quick:
        gigabytes = min(gigabytes, 0.2)
    module = build(torch, gigabytes)
    kept = {name: one.data for name, one in module.named_parameters()}
    size = sum(one.numel() * one.element_size() for one in kept.values())
    given = torch.linspace(-1, 1, 4 * WIDTH).view(4, WIDTH)
    with torch.no_grad():
        expected = module(given)

    def back() -> None:
        for name, one in module.named_parameters():
            one.data = kept[name]

    ways: dict[str, Callable[[], Any]] = {"module.to": lambda: module.to(place)}
    if place == "cpu":
        ways["module.to"] = lambda: module._apply(lambda tensor: tensor.clone())
    ways["rekindle.gpu.to_device"] = lambda: rekindle.gpu.to_device(module, place)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        if has_file:
            file = Path(directory, "model.safetensors")
            save(torch, file, kept)
            ways["rekindle.gpu.load_safetensors"] = lambda: module.load_state_dict(
                rekindle.gpu.load_safetensors(file, place), assign=True
            )
        _ways(report, options, torch, module, ways, back, (given, expected), size, times, place)


def _ways(
    report: Report,
    options: Options,
    torch: Any,
    module: Any,
    ways: dict[str, Callable[[], Any]],
    back: Callable[[], None],
    check: tuple[Any, Any],
    size: int,
    times: int,
    place: str,
) -> None:
    wait = torch.cuda.synchronize if place == "cuda" else lambda: None
    torch.zeros(1, device=place)
    wait()
    runs: dict[str, list[float]] = {name: [] for name in ways}
    given, expected = check
    longest = 0.0
    for turn in range(times + 1):
        if turn > 1 and not options.has_time_for(2 * longest):
            break
        began = time.monotonic()
        for name, move in ways.items():
            started = time.perf_counter()
            move()
            wait()
            seconds = time.perf_counter() - started
            if turn == 0:
                report.row(f"{name}, first time", seconds * 1e3, "ms", bytes=size)
                with torch.no_grad():
                    found = module(given.to(place)).cpu()
                wrong = float((found - expected).abs().max() / expected.abs().max())
                report.row(f"{name}: error of the result", wrong, "relative", tolerance=1e-3)
            else:
                runs[name].append(seconds)
            back()
            if place == "cuda":
                torch.cuda.empty_cache()
        longest = max(longest, time.monotonic() - began)
    medians = {
        name: report.median(
            *(name, [s * 1e3 for s in found], "ms"),
            bytes=size,
            gb_s=round(size / statistics.median(found) / GB, 2),
        )
        for name, found in runs.items()
    }
    if "module.to" in medians:
        ratio = medians["module.to"] / medians["rekindle.gpu.to_device"]
        report.row("module.to / to_device", ratio, "ratio", bytes=size)


def save(torch: Any, path: Path, tensors: dict[str, Any]) -> None:
    """Contiguous floats as a safetensors file, without that package."""
    table, at = {}, 0
    for name, one in tensors.items():
        size = one.numel() * one.element_size()
        table[name] = {"dtype": "F32", "shape": list(one.shape), "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(table).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for one in tensors.values():
            file.write(memoryview(one.numpy()).cast("B"))
        file.flush()
        os.fsync(file.fileno())
