"""GPU snapshots: a process's device memory into its host memory and back, by the driver (570+).

Suspended, a process has no device open any more and CUDA calls in it wait; CRIU dumps it as any
other. A restored copy is resumed: its memory goes back to a GPU of the same kind. Asked from
outside: the process itself cannot. Standard library only.

Called in a process of its own (``checkpointing.py``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from enum import IntEnum

from rekindle.exception import CudaError, GpuError
from rekindle.gpu_restore.cuda import PASSING, Driver

#: The calls are there from this driver's CUDA on (driver 570).
MIN_CUDA = 12080
#: A process can be resumed on other GPUs from here on (driver 580). Before, what tells the driver
#: of them is reserved.
MOVES_CUDA = 13000
#: To wait for what the process has begun on the GPU.
LOCK_TIMEOUT_MS = 10_000


class State(IntEnum):
    """Of a process, as CUDA counts them."""

    RUNNING = 0
    LOCKED = 1
    CHECKPOINTED = 2
    FAILED = 3


def why_not(driver: Driver) -> str:
    """Why this machine can take no GPU snapshots; "" where it can, as far as it can be told.

    Raises CudaError for what passes.
    """
    try:
        version = driver.version()
    except CudaError as error:
        if error.code in PASSING:
            raise
        return str(error)
    if version < MIN_CUDA or not driver.has("cuCheckpointProcessCheckpoint"):
        return (
            f"GPU snapshots need an NVIDIA driver of 570 or newer (CUDA 12.8); {_this_one(version)}"
        )
    return ""


def why_not_moved(driver: Driver) -> str:
    """Why a process can be resumed on the GPUs alone that it had; "" where on others, too."""
    version = driver.version()
    if version >= MOVES_CUDA:
        return ""
    return (
        "needs an NVIDIA driver of 580 or newer (CUDA 13.0) to go to another GPU; "
        f"{_this_one(version)}"
    )


def _this_one(version: int) -> str:
    return f"this one is for CUDA {version // 1000}.{version % 1000 // 10}"


def state_of(driver: Driver, pid: int) -> State:
    """Raises GpuError: a process without CUDA, one of another user, a newer driver's state."""
    number = driver.process_state(pid)
    try:
        return State(number)
    except ValueError:
        raise GpuError(f"CUDA says state {number} of process {pid}, which is not known") from None


def suspend(driver: Driver, pid: int) -> None:
    """Device memory into host memory. Raises GpuError: the process goes on then, unless it says
    that it is lost.
    """
    driver.process_lock(pid, LOCK_TIMEOUT_MS)
    try:
        driver.process_checkpoint(pid)
    except CudaError as error:
        raise GpuError(
            f"no GPU snapshot of process {pid}: {error}{_let_go(driver, pid)}"
        ) from error


def resume(driver: Driver, pid: int, moved: Mapping[str, str] | None = None) -> None:
    """Undo ``suspend``, in the process itself or in a copy that CRIU restored.

    ``moved``: the UUID of each GPU then, and of the one in its place now: of all GPUs of the
    machine, as the driver refuses less. Raises GpuError: the process is of no use then.
    """
    try:
        driver.process_restore(pid, dict(moved) if moved else None)
        driver.process_unlock(pid)
    except CudaError as error:
        raise GpuError(f"the GPU snapshot of process {pid} cannot be resumed: {error}") from error


def _let_go(driver: Driver, pid: int) -> str:
    """After a failed checkpoint; says where the process is lost."""
    with contextlib.suppress(GpuError):
        if state_of(driver, pid) is State.LOCKED:
            driver.process_unlock(pid)
            return ""
    return "; the process is lost"
