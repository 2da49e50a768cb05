"""Opens NVML: through pynvml (an optional dependency), or a recorded machine in its place.

While it is open the driver stays loaded and initialised, which every later start profits from.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import sys
from typing import cast

from rekindle.gpu_restore.nvml import DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, Nvml, value_of
from rekindle.linux.passing import says_passing

#: A recording to play in place of this machine's driver: for tests and for trying placement out.
RECORDING = "REKINDLE_NVML_RECORDING"
_NO_LIBRARY = "no NVIDIA driver library (libnvidia-ml.so) on this machine"


class NvmlAbsentError(Exception):
    """NVML cannot be asked on this machine; says why. ``passes``: it may be in a moment."""

    passes = False


def open_nvml() -> Nvml:
    """NVML, started. Raises NvmlAbsentError."""
    nvml = _find()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise NvmlAbsentError(_no_driver(error)) from error
    return nvml


def _find() -> Nvml:
    if path := os.environ.get(RECORDING):
        from rekindle.gpu_restore.recorded import RecordedNvml, read

        try:
            return RecordedNvml(lambda: read(path))
        except (OSError, ValueError) as error:
            raise NvmlAbsentError(f"{RECORDING}={path} cannot be played: {error}") from error
    # Large: where it would find no driver, no start of an agent waits for it.
    if "pynvml" not in sys.modules and not _has_library() and importlib.util.find_spec("pynvml"):
        raise NvmlAbsentError(_NO_LIBRARY)
    try:
        return cast(Nvml, importlib.import_module("pynvml"))
    except ImportError as error:
        raise NvmlAbsentError("pynvml is not installed (pip install 'rekindle[gpu]')") from error


def _has_library() -> bool:
    """Whether the driver's library is there, by the name that pynvml has for it. Raises
    NvmlAbsentError where that cannot be told now."""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        if says_passing(str(error)):  # it has no number
            cannot = NvmlAbsentError(f"the NVIDIA driver library cannot be looked for: {error}")
            cannot.passes = True
            raise cannot from error
        return False
    return True


def _no_driver(error: Exception) -> str:
    code = value_of(error)
    if code == LIBRARY_NOT_FOUND:
        _has_library()  # pynvml says so whatever the reason
        return _NO_LIBRARY
    if code == DRIVER_NOT_LOADED:
        return "the NVIDIA driver is not loaded"
    return f"NVML cannot be started: {error}"
