"""What the figures were measured on."""

from __future__ import annotations

import importlib.util
import os
import shutil

from on_gpu.children import last_json
from on_gpu.report import Options, Report
from rekindle.exception import Error
from rekindle.gpu_restore import checkpoint
from rekindle.gpu_restore import cuda as driver
from rekindle.gpu_restore.inventory import inventory

_TORCH = """
import json, torch
print(json.dumps([torch.__version__, torch.version.cuda, hasattr(torch._C, "_cuda_init")]))
"""


def run(report: Report, _options: Options) -> None:
    """Driver, GPUs, kernel, Python, torch, CRIU."""
    report.says("kernel", " ".join(os.uname()[i] for i in (0, 2, 4)))
    report.row("cores", len(os.sched_getaffinity(0)), "")
    report.row("memory", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, "GB")
    report.row("disk free", shutil.disk_usage("/var/tmp").free / 1e9, "GB")
    found = inventory()
    if found.gpus:
        for gpu in found.gpus:
            report.says("gpu", gpu.name, memory_bytes=gpu.memory_bytes, index=gpu.index)
        report.says("driver", found.driver, cuda=found.cuda)
    else:
        report.missing("gpu", found.reason)
    try:
        library = driver.load()
        why = checkpoint.why_not(library)
        report.says("GPU snapshots", why or "the driver has the calls", cuda=library.version())
    except Error as error:
        report.missing("GPU snapshots", error)
    if importlib.util.find_spec("torch") is None:
        report.missing("torch", "no torch")
    else:
        version, cuda, has_cuda = last_json(_TORCH)
        report.says("torch", version, cuda=cuda, with_cuda=has_cuda)
    try:
        from rekindle.snapshot import criu

        report.says("criu", criu.find().version)
    except (ImportError, Error) as error:
        report.missing("criu", error)
