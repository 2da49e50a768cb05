"""Whether this machine's torch can use its GPU: told by its files, as an import takes seconds."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from on_gpu.report import Options
from rekindle.exception import Error
from rekindle.gpu_restore import cuda


def why_not(options: Options) -> str:
    """Why there are no figures with torch; "" where there can be. A stand-in takes any torch."""
    found = importlib.util.find_spec("torch")
    if found is None:
        return "no torch"
    if options.stand_in:
        return ""
    version, built_for = _versions(found.origin or "")
    if built_for is None:
        return f"torch {version} is without CUDA"
    try:
        newest = cuda.load().version()
    except Error:
        return ""  # what needs CUDA says so itself
    # Within a major version, an older driver runs what is built for a newer CUDA.
    if int(built_for.partition(".")[0]) > newest // 1000:
        has = f"{newest // 1000}.{newest % 1000 // 10}"
        return f"torch {version} is for CUDA {built_for}, this driver for {has} at most"
    return ""


def _versions(origin: str) -> tuple[str, str | None]:
    """Of the torch there, and of the CUDA that it was built for, if any."""
    spec = importlib.util.spec_from_file_location("_version", Path(origin).with_name("version.py"))
    if spec is None or spec.loader is None:
        return "unknown", None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.__version__, module.cuda
