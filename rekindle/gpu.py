"""``rekindle.gpu``: a runner's GPUs, and weights on them.

    @app.cls(gpu="H100", enable_memory_snapshot=True)
    class Model:
        @rekindle.enter(snap=True)
        def load(self):
            self.model = build()  # on the CPU, in the snapshot

        @rekindle.enter()
        def to_gpu(self):
            self.model = rekindle.gpu.to_device(self.model)

Loads nothing before it is used, and torch only where a module of it is handed in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from rekindle.exception import GpuError
from rekindle.sdk.user_frames import trimmed

if TYPE_CHECKING:
    from typing import Any  # at hand it would be ``rekindle.gpu.Any``, which is a GPU elsewhere

    from rekindle.gpu_restore.context import Ready
    from rekindle.gpu_restore.copying import Transfer
    from rekindle.gpu_restore.holding.client import Connection

__all__ = ["load_safetensors", "ready", "to_device", "transfers"]

T = TypeVar("T")

_transfers: list[Transfer] = []
#: Of the process with that id.
_holder: tuple[int, Connection] | None = None


def __getattr__(name: str) -> Any:
    from rekindle.sdk import absent, user_frames

    error = absent.missing_of_gpu(name, __all__)
    try:
        raise error
    except (AttributeError, ImportError):  # raised once more, it shows no frame of ours
        user_frames.only(error)
        raise


@trimmed
def ready() -> Ready:
    """Bring CUDA up in this runner; at once where that was done.

    A function with ``gpu=`` finds it done before its ``enter(snap=False)`` hooks. Raises GpuError.
    """
    from rekindle.gpu_restore.context import bring_up

    return bring_up()


@trimmed
def to_device(
    what: T,
    device: Any = None,
    *,
    threads: int | None = None,
    hold: bool | str = False,
    checksums: bool = False,
) -> T:
    """A torch module (in place), a tensor, or a dict or list of these, on the GPU.

    As ``what.to("cuda")``, faster, and what shared memory still does. ``device``: as torch names
    it; None is the current GPU, "cpu" this machine's memory. ``hold``: keep the parameters on the
    GPU, and share them with the next runners of this function, which then start without a copy
    (a string tells several modules of one function apart); they must not be written to. Without a
    process that holds them they are copied as always, and a note in the start's record says so.
    ``checksums``: have it remember what they were. Raises GpuError, and InvalidError for what
    names no device.
    """
    from rekindle.gpu_restore import marks, weights
    from rekindle.wire.phases import Phase

    to = weights.target(device, threads)
    with marks.phase(Phase.GPU_WEIGHTS):
        if hold:
            try:
                held: T = _held(what, to, hold, checksums=checksums)
                return held
            except GpuError as error:
                marks.note(f"weights are not shared with other runners: {error}")
        moved, transfer = weights.move(what, to)
    _note(transfer)
    there: T = moved
    return there


@trimmed
def load_safetensors(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    device: Any = None,
    *,
    threads: int | None = None,
) -> dict[str, Any]:
    """The tensors of safetensors files by name, straight from the page cache to the device.

    For ``module.load_state_dict(tensors, assign=True)``. Raises GpuError, OSError.
    """
    from rekindle.gpu_restore import marks, weights
    from rekindle.wire.phases import Phase

    files = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    to = weights.target(device, threads)
    with marks.phase(Phase.GPU_WEIGHTS):
        found, transfer = weights.load_files(files, to)
    _note(transfer)
    tensors: dict[str, Any] = found
    return tensors


@trimmed
def transfers() -> list[Transfer]:
    """What was copied to devices in this process: bytes, seconds, bytes a second."""
    return list(_transfers)


def _note(transfer: Transfer) -> None:
    from rekindle.gpu_restore import marks

    _transfers.append(transfer)
    if transfer.size:
        marks.note(f"weights: {transfer.in_words()}")


def _held(what: Any, to: Any, hold: bool | str, *, checksums: bool) -> Any:
    from rekindle.gpu_restore import held_weights, marks
    from rekindle.wire import gpu_environment

    revision = os.environ.get(gpu_environment.REVISION, "")
    name = f"{revision}/{hold if isinstance(hold, str) else ''}"
    moved, transfer, was_there = held_weights.move(
        what, name, to, _connection(to), checksums=checksums
    )
    _note(transfer)
    if was_there:
        marks.note("weights: held on the GPU, nothing to copy")
    return moved


def _connection(to: Any) -> Connection:
    global _holder
    from rekindle.gpu_restore.holding.client import Connection
    from rekindle.wire import gpu_environment

    if _holder is None or _holder[0] != os.getpid():
        path = os.environ.get(gpu_environment.HOLDER, "")
        if not path:
            raise GpuError("no process holds weights on this GPU")
        _holder = (os.getpid(), Connection.to(path, to.device))
    return _holder[1]
