"""An input as it was given to this node."""

from __future__ import annotations

from dataclasses import dataclass

from rekindle.wire.phases import Strategy


@dataclass(frozen=True)
class Assignment:
    """One delivery of one input."""

    call_id: str
    index: int
    function_id: str
    app_id: str
    method: str
    params: bytes
    payload: bytes
    strategy: Strategy | None
    submitted_ns: int
    received_ns: int
    delivery: int

    @property
    def id(self) -> tuple[str, int]:
        """What names the input everywhere."""
        return (self.call_id, self.index)

    @property
    def input_id(self) -> str:
        """The same as text."""
        return f"{self.call_id}:{self.index}"
