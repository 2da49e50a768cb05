"""Versions of apps whose program is interrupted while they are made.

They are given up where that is not too late, and the program says what came of it. Knows nothing of
what a version is made of: only of the one request that makes it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from rekindle.exception import Error, ExecutionError
from rekindle.sdk.connection.background import background
from rekindle.wire import rekindle_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from rekindle.sdk.connection.client import Client

R = TypeVar("R")

#: An interrupted program waits so long for a controller that is to say what came of it.
_GIVE_UP_S = 3.0

#: What a program is told that is interrupted before it has asked for a version.
NOTHING_DEPLOYED = "Interrupted: nothing was deployed"


class DeployAttempt:
    """One deployment under way, as seen by whoever may interrupt it: another thread, or the handler
    of a signal."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a handler runs in the thread that may have it
        self._begins = False
        self._asked: Future[pb.DeployReply] | None = None
        self.interrupted = False
        #: Whether its version was live when it was given up; None: not known.
        self.is_live: bool | None = False

    def begin(self, start: Callable[[], Future[pb.DeployReply]]) -> Future[pb.DeployReply]:
        """Ask for it. Raises ExecutionError where it was interrupted before."""
        with self._lock:
            if self.interrupted:
                raise ExecutionError(NOTHING_DEPLOYED)
            self._begins = True
            self._asked = start()
            if self.interrupted:
                self._asked.cancel()
            return self._asked

    def interrupt(self) -> bool:
        """Have the thread that waits for it give it up. False where it had not begun: then it never
        does."""
        with self._lock:
            self.interrupted = True
            if self._asked is not None:
                self._asked.cancel()
            return self._begins


_current: ContextVar[DeployAttempt | None] = ContextVar("rekindle_deploy_attempt", default=None)


@contextmanager
def interruptible(attempt: DeployAttempt) -> Iterator[None]:
    """What is made within can be interrupted by ``attempt``."""
    before = _current.get()
    try:
        _current.set(attempt)  # in here: a signal's exception may come behind it
        yield
    finally:
        _current.set(before)


def have_made(
    client: Client,
    method: str,
    request: Message,
    app_id: str,
    name: str,
    patience_s: float | None = None,
) -> pb.DeployReply:
    """Have a version made, whose id is ``app_id``.

    An interrupt gives it up, where that is not too late, and its notes say what came of it. Raises
    ExecutionError, which says the same, where a ``DeployAttempt`` interrupts.
    """
    attempt = _current.get() or DeployAttempt()

    def ask() -> Future[pb.DeployReply]:
        return background().start(client.request(method, request, pb.DeployReply, patience_s))

    try:
        with _sigterm(_terminate):
            return attempt.begin(ask).result()
    except (KeyboardInterrupt, SystemExit) as interrupt:
        begun = attempt.interrupt()
        came_to = _given_up(attempt, client, app_id, name) if begun else NOTHING_DEPLOYED
        if isinstance(interrupt, _Terminated):
            _end(came_to)
        interrupt.add_note(came_to)
        raise
    except concurrent.futures.CancelledError:
        if not attempt.interrupted:
            raise
        raise ExecutionError(_given_up(attempt, client, app_id, name)) from None


class _Terminated(SystemExit):
    """SIGTERM, to a program that does nothing about it. Its status is a shell's, where a second one
    or a program's own code keeps it from its end by the signal."""

    def __init__(self, *_signal: object) -> None:
        super().__init__(128 + signal.SIGTERM)


#: What SIGTERM does while versions are being made.
_on_sigterm: list[Callable[[], object]] = []


def _handle_sigterm(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends it at once
    for act in tuple(_on_sigterm):
        act()


@contextmanager
def _sigterm(act: Callable[[], object]) -> Iterator[None]:
    """Within, SIGTERM does this, once, where it would end the program without a word. A handler of
    the program's own is left alone."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) not in (signal.SIG_DFL, _handle_sigterm):
        yield
        return
    try:
        _on_sigterm.append(act)
        signal.signal(signal.SIGTERM, _handle_sigterm)
        yield
    finally:
        if act in _on_sigterm:
            _on_sigterm.remove(act)
        if not _on_sigterm and signal.getsignal(signal.SIGTERM) is _handle_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate() -> None:
    raise _Terminated


def _end(came_to: str) -> None:
    """Say what came of it, and end by the signal, as the program would have."""
    with suppress(OSError, ValueError):  # nobody reads that
        sys.stderr.write(f"{came_to}\n")
        sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGTERM)


def _given_up(attempt: DeployAttempt, client: Client, app_id: str, name: str) -> str:
    request = pb.GiveUpDeployRequest(app_id=app_id)
    asked = client.request("GiveUpDeploy", request, pb.GiveUpDeployReply, _GIVE_UP_S)
    attempt.is_live = None
    try:
        reply = background().run(asked)
    except Error as error:
        return (
            f"Interrupted; whether {name} was deployed is not known ({error}): "
            f"`rekindle app history {name}` shows it"
        )
    attempt.is_live = reply.live
    if reply.live:
        return live_by_then(name, reply.version)
    return f"Interrupted: {name} was not deployed. What there was of it before goes on"


def live_by_then(name: str, version: int) -> str:
    """What a program is told that is interrupted when its version has been made."""
    return (
        f"Interrupted, but {name}, version {version}, was live by then: "
        f"`rekindle app rollback {name}` takes it back"
    )


async def in_thread(
    blocking: Callable[..., R], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> R:
    """Have a thread do what makes a version; the thread hears of it when this is cancelled.

    The CancelledError has a note of what came of it.
    """
    attempt = DeployAttempt()
    with interruptible(attempt):
        thread = asyncio.ensure_future(asyncio.to_thread(blocking, *args, **kwargs))
    terminated, task, loop = asyncio.Event(), asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None

    def terminate() -> None:
        terminated.set()
        loop.call_soon_threadsafe(task.cancel)

    try:
        with _sigterm(terminate):
            return await asyncio.shield(thread)
    except asyncio.CancelledError as interrupt:
        came_to = NOTHING_DEPLOYED
        if attempt.interrupt():
            await asyncio.wait([thread])
            came_to = _came_to(thread)
        if terminated.is_set():
            _end(came_to)
        interrupt.add_note(came_to)
        raise


def _came_to(thread: asyncio.Task[Any]) -> str:
    if (error := thread.exception()) is not None:
        return str(error)
    return live_by_then(thread.result().name, thread.result().version)
