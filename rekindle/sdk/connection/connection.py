"""One connection to a controller, kept up through restarts of the controller.

Every request can be sent again (ids are made by clients), so a lost connection is tried again until
a deadline. Knows no request of the contract. Coroutines here run on the background thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rekindle import paths
from rekindle.exception import ConnectionError
from rekindle.sdk import monkey_patched
from rekindle.sdk.connection.background import Background, background
from rekindle.sdk.connection.patience import connect_timeout_s
from rekindle.sdk.connection.retrying import BrokenError, Patience
from rekindle.sdk.connection.slow_answers import SlowAnswers
from rekindle.sdk.local import announcing
from rekindle.wire.usercode import came_by_signal

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from rekindle.sdk.connection.transport import Transport

M = TypeVar("M", bound="Message")

#: What a forked child inherited: to close it would wait for threads that are not there.
_of_parent: list[Any] = []


def _tell(text: str) -> None:
    announcing.say(text, stays=True)


class Connection:
    """To the controller of one instance directory."""

    def __init__(self, instance: Path) -> None:
        """Raises MonkeyPatchedError."""
        monkey_patched.refuse("a call of rekindle")
        self.instance = instance
        self._patience_s = connect_timeout_s()
        self._owner: Background | None = None
        self._transport_now: Transport | None = None
        self._known_token = ""
        #: Whether the instance can come back; False as soon as no one is there to restart it.
        self.alive: Callable[[], bool] = lambda: True
        #: Why it has ended, where somebody has said it.
        self.why_ended: Callable[[], str] = lambda: ""
        self.slow = SlowAnswers(lambda: self.what_it_waits_for(), _tell)

    def transport(self) -> Transport:
        """The way to the controller; another one where this process is a forked child."""
        owner = background()
        if self._owner is not owner or self._transport_now is None:
            from rekindle.sdk.connection.transport import open_transport

            if self._transport_now is not None:
                _of_parent.append(self._transport_now)
            self._transport_now = open_transport(
                self.instance, self.token(), inherited=owner.inherited
            )
            self._owner = owner
            owner.at_close(self.close)
        return self._transport_now

    def token(self) -> str:
        """The instance's token. Raises ConnectionError where it cannot be read.

        Read once: a request to an instance that has ended, and whose files are gone, is to say that
        it has ended.
        """
        if self._known_token:
            return self._known_token
        file = paths.token_file(self.instance)
        try:
            self._known_token = file.read_text().strip()
        except OSError as error:
            if came_by_signal(error):
                raise
            raise ConnectionError(
                f"no rekindle instance at {self.instance}: its token cannot be read "
                f"({error.strerror}). Start one with `rekindle up`, or use `rekindle run`"
            ) from None
        return self._known_token

    async def close(self) -> None:
        """Give the connection back; a later call opens another."""
        if self._owner is not None and not self._owner.inherited and self.alive():
            await self.before_close()
        if self._owner is not None:
            self._owner.closed(self.close)
        transport, self._transport_now, self._owner = self._transport_now, None, None
        if transport is not None:
            await transport.close()

    async def what_it_waits_for(self) -> str:
        """What the controller itself waits for, in words; "" where for nothing."""
        return ""

    async def before_close(self) -> None:
        """Send what is to be sent while there is a connection."""

    def _patience(self, patience_s: float | None = None) -> Patience:
        total_s = self._patience_s if patience_s is None else patience_s
        return Patience(total_s, self.instance, lambda: self.alive(), lambda: self.why_ended())

    async def request(
        self, method: str, request: Message, reply: type[M], patience_s: float | None = None
    ) -> M:
        """Make a request of the contract, through lost connections; its reply."""
        patience = self._patience(patience_s)
        with self.slow.waiting():
            while True:
                try:
                    found: M = await self.transport().one(method, request, reply)
                    return found
                except BrokenError:
                    await patience.wait()

    async def stream(
        self,
        method: str,
        request: Callable[[], Message],
        reply: type[M],
        on_lost: Callable[[], None] | None = None,
    ) -> AsyncGenerator[M, None]:
        """Make one that has many replies, through lost connections.

        ``request`` makes it, each time that it is sent: after a lost one it asks for what is left.
        ``on_lost`` is called when one is lost.
        """
        patience = self._patience()
        while True:
            try:
                replies = self.transport().many(method, request(), reply)
                async with contextlib.aclosing(replies):
                    async for one in replies:
                        yield one
                return
            except BrokenError:
                if on_lost is not None:
                    on_lost()
                await patience.wait()
