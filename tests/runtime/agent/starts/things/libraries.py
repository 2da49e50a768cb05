"""What libraries outside of the standard one have open."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from tests.runtime.agent.starts.things.kinds import Make, Probe


def _shared_tensor(_n: int) -> Any:
    import torch

    torch.set_num_threads(1)
    return torch.zeros(1000).share_memory_()


def _probe_shared_tensor(tensor: Any) -> Any:
    tensor[3] += 1
    return float(tensor[3]), float(tensor.sum()), tensor.is_shared()


def _hdf5(n: int) -> Any:
    import h5py

    path = os.path.join(tempfile.mkdtemp(prefix="rekindle-things-"), f"h{n}.h5")
    with h5py.File(path, "w") as file:
        file["numbers"] = list(range(10000))
    return h5py.File(path, "r")  # under a shared lock


def _probe_hdf5(file: Any) -> Any:
    return int(file["numbers"][5]), int(file["numbers"][:].sum())


def _part(number: int, content: bytes) -> bytes:
    """A field of a protobuf message, shorter than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def _onnx_session(_n: int) -> Any:
    os.environ["HOME"] = tempfile.mkdtemp(prefix="rekindle-things-")  # of its telemetry database
    import onnxruntime

    kind = _part(2, _part(1, b"\x08\x01" + _part(2, _part(1, b"\x08\x01"))))  # one float
    graph = (
        _part(1, _part(1, b"x") + _part(2, b"y") + _part(4, b"Neg"))
        + _part(2, b"g")
        + _part(11, _part(1, b"x") + kind)
        + _part(12, _part(1, b"y") + kind)
    )
    model = b"\x08\x08" + _part(7, graph) + _part(8, b"\x10\x0d")
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def _probe_onnx_session(session: Any) -> Any:
    import numpy as np

    return float(session.run(None, {"x": np.array([5], dtype=np.float32)})[0][0])


#: With the module that each needs.
THINGS: dict[str, tuple[str, Make, Probe]] = {
    "shared tensor": ("torch", _shared_tensor, _probe_shared_tensor),
    "HDF5 file": ("h5py", _hdf5, _probe_hdf5),
    "ONNX session": ("onnxruntime", _onnx_session, _probe_onnx_session),
}
