"""The instance that an operator's commands talk to, and the requests that only they make.

It is that of $REKINDLE_DIR, or what ``rekindle up`` keeps. Nothing is started for a question.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from rekindle import paths
from rekindle.exception import ConnectionError
from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.client import Client, _LostError, _Patience
from rekindle.sdk.local import directory as instance
from rekindle.wire import rekindle_pb2 as pb

#: How long a controller may take to answer, also one that is being started again.
PATIENCE_S = 10.0

T = TypeVar("T")
M = TypeVar("M", bound=Message)


class OperatorClient(Client):
    """A client with the requests of operators."""

    async def report(self, patience_s: float = PATIENCE_S, *, pools: bool = True) -> pb.StatusReply:
        """What the controller knows of itself. Of many functions, ``pools`` are most of it."""
        request = pb.StatusRequest(without_pools=not pools)
        reply: pb.StatusReply = await self._unary("Status", request, patience_s)
        return reply

    def request(self, method: str, request: Message, reply: type[M]) -> M:
        """Make another request of the contract, and wait for its reply."""
        made = ask(self._unary(method, request, PATIENCE_S))
        assert isinstance(made, reply)
        return made

    async def lines(self, request: pb.LogsRequest) -> AsyncIterator[pb.LogLine]:
        """Log lines, each once and in order, through restarts of the controller."""
        patience = _Patience(self._patience_s, self)
        wanted = pb.LogsRequest()
        wanted.CopyFrom(request)
        while True:
            try:
                async for line in self._stream("Logs", wanted):
                    # From now on it is this app, whatever else may get its name.
                    wanted.app, wanted.app_id = "", line.app_id
                    wanted.after_seq, wanted.tail = line.seq, 0
                    yield line
                return
            except _LostError as lost:
                await patience.wait(lost.error)


def where() -> Path:
    """The directory of the instance, whether it is up or not."""
    named = os.environ.get("REKINDLE_DIR")
    return Path(named).absolute() if named else paths.daemon_dir()


def is_up() -> bool:
    """Whether it is up."""
    directory = where()
    return instance.supervisor_pid(directory) is not None or instance.answers(directory)


def connect(patience_s: float = PATIENCE_S) -> OperatorClient:
    """A client of the instance that is up. Raises ConnectionError where none is."""
    if not is_up():
        raise ConnectionError(
            "no instance is up; `rekindle up` starts one (REKINDLE_DIR names that of another)"
        )
    client = OperatorClient(where())
    ask(client.hello(patience_s))
    return client


def ask(question: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of a client; its value."""
    return background().run(question)
