"""Modules and files of weights for tests. Imports torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch


def copy_of(module: Any) -> dict[str, Any]:
    """Values, types, strides and gradients before it moves; at other addresses."""
    return {
        name: torch.empty_strided(one.shape, one.stride(), dtype=one.dtype)
        .copy_(one.detach())
        .requires_grad_(one.requires_grad)
        for name, one in [*module.named_parameters(), *module.named_buffers()]
    }


class Everything(torch.nn.Module):  # type: ignore[misc]
    """What weights come as."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(50, 16)
        self.head = torch.nn.Linear(16, 50, bias=False)
        self.head.weight = self.embedding.weight  # tied: one Parameter
        self.norm = torch.nn.BatchNorm1d(16)
        self.frozen = torch.nn.Parameter(torch.randn(7), requires_grad=False)
        self.small = torch.nn.Parameter(torch.randn(5, 3).to(torch.bfloat16))
        self.register_buffer("turned", torch.arange(12).reshape(3, 4).t())
        self.register_buffer("empty", torch.empty(0, 4))
        self.register_buffer("passing", torch.ones(3), persistent=False)
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("complex", torch.randn(3, dtype=torch.complex64))
        torch.nn.utils.parametrizations.weight_norm(self.head)


def save(path: Path, tensors: dict[str, Any], head: int = 0) -> None:
    table: dict[str, Any] = {"__metadata__": {"made": "by a test"}}
    data = b""
    names = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL"}
    for name, one in tensors.items():
        raw = bytes(one.contiguous().reshape(-1).view(torch.uint8).tolist()) if one.numel() else b""
        table[name] = {
            "dtype": names[one.dtype],
            "shape": list(one.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(table).encode()
    path.write_bytes((len(text) + head).to_bytes(8, "little") + text + data)
