"""What a context costs at least: a C program that only makes one, and ``rekindle.gpu.ready()``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from on_gpu import torch_here
from on_gpu.children import last_json
from on_gpu.report import Options, Report

_SOURCE = Path(__file__).with_name("context.c")
_CTYPES = """
import json, time
started = time.perf_counter()
from rekindle.gpu_restore import cuda as driver
loaded = driver.load()
at = time.perf_counter()
loaded.init()
initialised = time.perf_counter()
loaded.retain_primary(loaded.device(0))
made = time.perf_counter()
print(json.dumps({"load": (at - started) * 1e3, "init": (initialised - at) * 1e3,
                  "context": (made - initialised) * 1e3, "all": (made - at) * 1e3}))
"""
_READY = """
import json, sys, time
if len(sys.argv) > 1:
    import torch
import rekindle
started = time.perf_counter()
ready = rekindle.gpu.ready()
print(json.dumps({"all": (time.perf_counter() - started) * 1e3, "init": ready.init_s * 1e3,
                  "torch": ready.torch_s * 1e3}))
"""
_TORCH_ALONE = """
import json, time, torch
started = time.perf_counter()
torch.zeros(1, device="cuda")
torch.cuda.synchronize()
print(json.dumps({"all": (time.perf_counter() - started) * 1e3}))
"""


def run(report: Report, options: Options) -> None:
    """Medians of fresh processes, in turn; those that import torch, which takes longest, last."""
    program = _program(options.scratch)
    kinds: dict[str, Callable[[], dict[str, float]]] = {
        "by ctypes": lambda: last_json(_CTYPES),
        "rekindle.gpu.ready()": lambda: last_json(_READY),
    }
    if program is not None:
        kinds["C program"] = lambda: _run_program(program)
    else:
        report.missing("C program", "no C compiler, and none came with the bundle")
    medians = _medians(report, options, kinds, 5)
    floor = medians.get("C program") or medians.get("by ctypes")
    if floor and "rekindle.gpu.ready()" in medians:
        report.row("gpu_context / floor", medians["rekindle.gpu.ready()"] / floor, "ratio")
    if why := torch_here.why_not(options):
        report.missing("with torch", why)
        return
    kinds = {
        "rekindle.gpu.ready() with torch": lambda: last_json(_READY, "torch"),
        "torch alone, first tensor": lambda: last_json(_TORCH_ALONE),
    }
    _medians(report, options, kinds, 2)


def _medians(
    report: Report, options: Options, kinds: dict[str, Callable[[], dict[str, float]]], times: int
) -> dict[str, float]:
    """As many rounds as there is time for: the first of each kind is written at once."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
    failed: set[str] = set()
    longest = 0.0
    for number in range(options.count(times)):
        for name, measure in kinds.items():
            if name in failed or (number and not options.has_time_for(longest)):
                continue
            began = time.monotonic()
            try:
                found[name].append(measure())
            except (RuntimeError, OSError, subprocess.SubprocessError, ValueError) as error:
                failed.add(name)
                report.missing(name, error)
                continue
            longest = max(longest, time.monotonic() - began)
            if number == 0:
                report.row(f"{name}, first time", found[name][0]["all"], "ms")
    medians = {}
    for name, runs in found.items():
        if runs and name not in failed:
            parts = {key: [round(one[key], 2) for one in runs] for key in runs[0] if key != "all"}
            medians[name] = report.median(name, [one["all"] for one in runs], "ms", **parts)
    return medians


def _run_program(program: str) -> dict[str, float]:
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"status {done.returncode}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _program(scratch: Path) -> str | None:
    """Built here, or the one that came along."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    made = scratch / "context"
    if compiler is not None:
        done = subprocess.run(
            [compiler, "-O2", "-o", made, _SOURCE, "-ldl"], capture_output=True, check=False
        )
        if done.returncode == 0:
            return str(made)
    brought = os.environ.get("REKINDLE_GPU_BUNDLE", "")
    path = Path(brought, "bin", "context")
    return str(path) if brought and os.access(path, os.X_OK) else None
