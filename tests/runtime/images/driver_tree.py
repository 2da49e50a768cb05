"""A tree that stands for NVIDIA's driver: libraries that can be loaded, and an nvidia-smi."""

from __future__ import annotations

import shutil
from pathlib import Path

VERSION = "560.35.03"
_LIBC = next(Path("/lib").glob("*-linux-gnu/libdl.so.2"), Path("/lib64/libdl.so.2"))


def make(root: Path) -> Path:
    """Where the libraries are in it."""
    folder = root / "usr" / "lib" / "x86_64-linux-gnu"
    folder.mkdir(parents=True)
    for name in ("cuda", "nvidia-ml", "nvidia-ptxjitcompiler", "nvidia-glcore"):
        real = f"lib{name}.so.{VERSION}"
        shutil.copy(_LIBC, folder / real)  # any library that loads
        (folder / f"lib{name}.so.1").symlink_to(real)
    (folder / "libcuda.so").symlink_to("libcuda.so.1")
    (folder / "libother.so.1").write_text("not of the driver")
    (folder / "libnvidia-cfg.so.1").symlink_to("gone")
    (root / "usr" / "bin").mkdir()
    smi = root / "usr" / "bin" / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho NVIDIA-SMI of the node\n")
    smi.chmod(0o755)
    return folder
