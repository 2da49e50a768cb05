"""What a machine can do: how it is told, whoever looked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ability:
    """Whether it is there, what was found, and what to do where it is not."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
