"""What the parts of an agent ask of its way to the controller (session/link.py)."""

from __future__ import annotations

from typing import Protocol

from rekindle.wire import rekindle_pb2 as pb


class Uplink(Protocol):
    """The way to the controller."""

    def send(self, message: pb.AgentMessage) -> None:
        """Send; kept and sent again after a lost connection where it matters."""

    def leave(self, reason: str) -> None:
        """Tell the controller, over this connection and each later one, that this agent ends."""

    async def fetch(self, function_id: str) -> pb.FetchFunctionReply:
        """Code, specification and secrets of a function."""

    async def fetch_secrets(self, function_id: str) -> dict[str, str]:
        """The variables of all its secrets, as they are now. Raises Error."""
