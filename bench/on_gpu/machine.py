"""What the figures were measured on."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

from on_gpu import torch_here
from on_gpu.children import last_json
from on_gpu.report import Options, Report
from rekindle.controller.storage.embedded_redis import find_server
from rekindle.exception import Error
from rekindle.gpu_restore import checkpoint
from rekindle.gpu_restore import cuda as driver
from rekindle.gpu_restore.inventory import inventory
from rekindle.runtime import doctor
from rekindle.runtime.check import Status

_TORCH = """
import json, torch
print(json.dumps([torch.__version__, torch.version.cuda, hasattr(torch._C, "_cuda_init")]))
"""


def run(report: Report, options: Options) -> None:
    """Driver, GPUs, kernel, Python, torch, CRIU, and which starts there can be."""
    report.says("kernel", " ".join(os.uname()[i] for i in (0, 2, 4)))
    report.row("cores", len(os.sched_getaffinity(0)), "")
    report.row("memory", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, "GB")
    report.row("disk free", shutil.disk_usage("/var/tmp").free / 1e9, "GB")
    report.says("python", f"{sys.version.split()[0]} ({sys.executable})")
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
        if why:
            report.missing("GPU snapshots", why)
        else:
            report.says("GPU snapshots", "the driver has the calls", cuda=library.version())
    except Error as error:
        report.missing("GPU snapshots", error)
    if why := torch_here.why_not(options):
        report.missing("torch on the GPU", why)
    _starts(report)
    if importlib.util.find_spec("torch") is not None:
        version, cuda, has_cuda = last_json(_TORCH)
        report.says("torch", version, cuda=cuda, with_cuda=has_cuda)


def _starts(report: Report) -> None:
    """What needs no start is measured in any case."""
    checks = doctor.examine(find_server)
    works, fails = doctor.what_works(checks)
    report.says("starts that there can be", ", ".join(works) or "none")
    for start in fails:
        report.missing("starts", start)
    for check in checks:
        if check.status is not Status.OK:
            report.says(check.name, check.detail, status=check.status.value)
        elif check.name == "CRIU":
            report.says("criu", check.detail)
