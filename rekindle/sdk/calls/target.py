"""What a call is made of besides its arguments. Standard library only."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rekindle.sdk.connection.client import Client
    from rekindle.sdk.logs import LogPrinter
    from rekindle.sdk.running import RunningApp


class CallTarget(NamedTuple):
    """A function that can be called now, and where.

    ``params``: the parameters of the instance that it is a method of, packed; empty without any.
    ``name``: for people. ``app``: where this process runs it.
    """

    client: Client
    function_id: str
    params: bytes
    method: str
    name: str
    app: RunningApp | None = None
    #: Whether the calls are of just this version of a deployed app.
    pinned: bool = False

    @property
    def logs(self) -> LogPrinter | None:
        """What shows here what its runners print."""
        return self.app.logs if self.app is not None else None
