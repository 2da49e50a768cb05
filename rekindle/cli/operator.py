"""The instance that an operator's commands talk to, and how they make requests.

sdk/local/choosing.py says which it is. Nothing is started for a question.
"""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from rekindle.sdk.connection.background import background
from rekindle.sdk.connection.client import Client
from rekindle.sdk.local import choosing
from rekindle.wire import rekindle_pb2 as pb

#: How long a controller may take to answer, also one that is being started again.
PATIENCE_S = 10.0

T = TypeVar("T")
M = TypeVar("M", bound=Message)


def where() -> Path:
    """The directory of the instance, whether it is up or not."""
    return choosing.place()


def is_up() -> bool:
    """Whether it is up."""
    return choosing.is_up(where())


def connect(patience_s: float = PATIENCE_S) -> Client:
    """A client of the instance that is up. Raises ConnectionError where none is."""
    client = Client(choosing.existing())
    ask(client.hello(patience_s))
    return client


def ask(question: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of a client; its value."""
    return background().run(question)


def request(
    client: Client, method: str, message: Message, reply: type[M], patience_s: float = PATIENCE_S
) -> M:
    """Make a request of the contract, and wait for its reply."""
    return ask(client.request(method, message, reply, patience_s))


def report(client: Client, patience_s: float = PATIENCE_S, *, pools: bool = True) -> pb.StatusReply:
    """What the controller knows of itself. Of many functions, ``pools`` are most of it."""
    wanted = pb.StatusRequest(without_pools=not pools)
    return request(client, "Status", wanted, pb.StatusReply, patience_s)
