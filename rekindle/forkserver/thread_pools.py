"""Thread pools limited to one while a template loads, and the limit lifted in its runners.

A process with a live pool of threads cannot be forked: libgomp, OpenBLAS and Rayon pools are gone
in the child, and the next parallel operation waits for them for ever. A pool of one thread is
never started.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rekindle.linux import maps

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


#: How to widen each pool that is loaded: which variable speaks of it, and its setter. Looked up
#: once, before a template is forked or frozen.
_Setter = tuple[str, Callable[[int], object]]
_setters: list[_Setter] | None = None

_OPENBLAS_SYMBOLS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)


def find_pools() -> None:
    """Look up the setters of the pools that are loaded: milliseconds that no runner need pay."""
    global _setters
    _setters = list(_find_setters())


def lift_environment(wanted: Mapping[str, str]) -> None:
    """In a template that parks: no more of it is loaded, and its copies have the user's settings.

    ``wanted`` holds what the user's environment says of the variables in ``LIMITED``.
    """
    for name in LIMITED:
        if name in wanted:
            os.environ[name] = wanted[name]
        else:
            os.environ.pop(name, None)


def lift(wanted: Mapping[str, str]) -> None:
    """In a runner: let loaded pools have the threads that the user's environment gives them."""
    if _setters is None:
        find_pools()
    if not _setters:
        return
    cpus = len(os.sched_getaffinity(0))
    openmp_threads = _number(wanted.get("OMP_NUM_THREADS"), cpus)
    for variable, set_threads in _setters:
        threads = _number(wanted.get(variable), openmp_threads)
        if threads > 1:
            set_threads(threads)


def _find_setters() -> Iterator[_Setter]:
    torch: Any = sys.modules.get("torch")
    # One means that nothing in the template asked for another number.
    if torch is not None and getattr(torch, "get_num_threads", lambda: 0)() == 1:
        yield "OMP_NUM_THREADS", torch.set_num_threads
    areas = (area for area in maps.mappings() if "x" in area.permissions)
    libraries = {area.path for area in areas if ".so" in area.path}
    if torch is None:
        yield from _exported(libraries, "libgomp", ("omp_set_num_threads",), "OMP_NUM_THREADS")
    yield from _exported(libraries, "openblas", _OPENBLAS_SYMBOLS, "OPENBLAS_NUM_THREADS")


def _number(text: str | None, default: int) -> int:
    try:
        return int((text or "").split(",")[0])
    except ValueError:
        return default


def _exported(
    libraries: set[str], name: str, symbols: tuple[str, ...], variable: str
) -> Iterator[_Setter]:
    """The first of ``symbols`` in each loaded library whose file name has ``name`` in it."""
    import ctypes

    for path in sorted(libraries):
        if name not in os.path.basename(path):
            continue
        loaded = ctypes.CDLL(path)  # already mapped: this only finds it
        found = next((symbol for symbol in symbols if hasattr(loaded, symbol)), None)
        if found is not None:
            yield variable, getattr(loaded, found)
