"""The environment of a node's processes of user code, and what of it is read as one is started."""

from __future__ import annotations

from collections.abc import Mapping

from rekindle.wire.environment import passed_on_environment

#: Read by the loader, the C library, Python and OpenSSL before user code could set them.
_READ_AT_START = ("HOME", "LANG", "LANGUAGE", "LOCPATH", "TZ", "TZDIR")
_READ_AT_START_PREFIXES = (
    *("PYTHON", "LD_", "LC_", "GLIBC_", "MALLOC_", "GCONV_", "OPENSSL_"),
    *("LSAN_", "ASAN_", "NLSPATH"),
)


def of_node() -> dict[str, str]:
    """What all of them have, whatever function they are for."""
    return {
        # Runners share the cores: OpenMP threads that spin while they wait take them from
        # those that work (we measured a factor of five on two cores).
        "OMP_WAIT_POLICY": "passive",
        # The same for OpenBLAS: it spins for two to the power of this, in processor cycles.
        "OPENBLAS_THREAD_TIMEOUT": "4",
        **passed_on_environment(),
        "PYTHONUNBUFFERED": "1",
    }


def read_at_start(environ: Mapping[str, str]) -> dict[str, str]:
    """The part that a process that runs already cannot be given."""
    return {
        name: value
        for name, value in environ.items()
        if name in _READ_AT_START or name.startswith(_READ_AT_START_PREFIXES)
    }
