"""What the parts of an agent ask of its way to the controller (session/link.py)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from rekindle.wire import rekindle_pb2 as pb

#: Results of a call that go on coming are sent so far apart. Each message costs the agent, the
#: controller, Redis and the client about a millisecond together, however much is in it.
GATHER_S = 0.02


class LostError(Exception):
    """The controller is away: whether it has a request is not known."""


class Uplink(Protocol):
    """The way to the controller."""

    def send(self, message: pb.AgentMessage, *, more: bool = False, soon: bool = False) -> None:
        """Send; kept and sent again after a lost connection where it matters.

        ``more``: these are results, and their call has more to come, with which they may travel;
        ``soon``: but not with many, as runners wait for what the controller gives in return, or
        these are among the last.
        """

    def lines_wait(self) -> bool:
        """Whether so many lines are on their way that no others are to be read meanwhile."""

    def leave(self, reason: str) -> None:
        """Tell the controller, over this connection and each later one, that this agent ends."""

    async def fetch(self, function_id: str) -> pb.FetchFunctionReply:
        """Code, specification and secrets of a function."""

    async def fetch_secrets(self, function_id: str) -> dict[str, str]:
        """The variables of all its secrets, as they are now. Raises Error."""

    def pass_on(self, method: str, message: bytes, token: str) -> AsyncGenerator[bytes, None]:
        """Make a request of the controller for a program, which has said the token; the replies.

        Raises what the controller answers, and LostError.
        """
