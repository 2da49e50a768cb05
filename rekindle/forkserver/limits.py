"""Thread pools limited to one while a template loads, and the limit lifted in its runners.

A process with a live pool of threads cannot be forked: libgomp, OpenBLAS and Rayon pools are gone
in the child, and the next parallel operation waits for them for ever. A pool of one thread is
never started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

#: Read by the libraries when they are loaded, or when their pool is first used.
LIMITED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "BLIS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def limited(env: Mapping[str, str]) -> dict[str, str]:
    """``env`` as a template gets it."""
    return {**env, **LIMITED}


def lift(wanted: Mapping[str, str]) -> list[str]:
    """In a runner: bring the user's settings back, in the environment and in loaded pools.

    ``wanted`` holds what the user's environment says of the variables in ``LIMITED``. Returns the
    names of the pools that were widened.
    """
    for name in LIMITED:
        if name in wanted:
            os.environ[name] = wanted[name]
        else:
            os.environ.pop(name, None)
    cpus = len(os.sched_getaffinity(0))
    widened = []
    openmp_threads = _number(wanted.get("OMP_NUM_THREADS"), cpus)
    torch: Any = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        # One means that nobody in the template asked for another number.
        if torch.get_num_threads() == 1 and openmp_threads > 1:
            torch.set_num_threads(openmp_threads)
            widened.append(f"torch={openmp_threads}")
    elif openmp_threads > 1:
        widened += _call_loaded("libgomp", "omp_set_num_threads", openmp_threads)
    blas_threads = _number(wanted.get("OPENBLAS_NUM_THREADS"), openmp_threads)
    if blas_threads > 1 and "numpy" in sys.modules:
        for symbol in (
            "scipy_openblas_set_num_threads64_",
            "scipy_openblas_set_num_threads",
            "openblas_set_num_threads64_",
            "openblas_set_num_threads",
        ):
            widened += _call_loaded("openblas", symbol, blas_threads)
    return widened


def _number(text: str | None, default: int) -> int:
    try:
        return int((text or "").split(",")[0])
    except ValueError:
        return default


def _call_loaded(library: str, symbol: str, threads: int) -> list[str]:
    """Call ``symbol(threads)`` in each loaded shared library whose file name has ``library``."""
    import ctypes

    called = []
    for path in sorted(_loaded_libraries()):
        name = os.path.basename(path)
        if library not in name:
            continue
        function = getattr(ctypes.CDLL(path), symbol, None)
        if function is not None:
            function(threads)
            called.append(f"{name}={threads}")
    return called


def _loaded_libraries() -> set[str]:
    with open("/proc/self/maps") as maps:
        lines = [line.split(maxsplit=5) for line in maps]
    return {
        fields[5].strip()
        for fields in lines
        if len(fields) == 6 and "x" in fields[1] and ".so" in fields[5]
    }
