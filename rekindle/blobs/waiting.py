"""How long somebody waits for a store that says nothing, and asking it for no longer than that.

A store's client may wait for minutes, and try again; a thread that it keeps is left behind then.
Knows nothing of what is asked.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeVar

from rekindle.exception import BlobStoreError, InvalidError

T = TypeVar("T")
R = TypeVar("R")

VARIABLE = "REKINDLE_LAZY_WAIT_S"
#: Who waits learns after so long what for.
_SLOW_S = 3.0


def wait_s() -> float:
    """``$REKINDLE_LAZY_WAIT_S``, or 60: seconds that whoever needs what is not here waits for the
    store. Raises InvalidError for what is no number.
    """
    text = os.environ.get(VARIABLE, "") or "60"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 3600:
        raise InvalidError(f"{VARIABLE}={text!r} must be seconds, up to 3600")
    return seconds


def ask_all(
    ask: Callable[[T], R],
    items: Iterable[T],
    *,
    url: str,
    at_once: int,
    seconds: float,
    slow: Callable[[], object] = bool,
) -> list[R]:
    """The answers of a store, several asked for at once, as they come; ``slow`` is called when they
    are not all there soon.

    Raises what ``ask`` does, and BlobStoreError where all takes longer than ``seconds``.
    """
    asked: queue.SimpleQueue[T] = queue.SimpleQueue()
    for item in items:
        asked.put(item)
    count = asked.qsize()
    answers: queue.SimpleQueue[Future[R]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            try:
                item = asked.get_nowait()
            except queue.Empty:
                return
            answer: Future[R] = Future()
            try:
                answer.set_result(ask(item))
            except BaseException as error:  # noqa: BLE001 - goes to who asks, whatever it is
                answer.set_exception(error)
            answers.put(answer)

    # Not a pool's threads: the interpreter waits for those when it ends.
    for _ in range(min(at_once, count)):
        threading.Thread(target=work, name="ask-store", daemon=True).start()
    ends_at = time.monotonic() + seconds
    slow_at = time.monotonic() + _SLOW_S
    found: list[R] = []
    while len(found) < count:
        try:
            answer = answers.get(timeout=max(0.0, min(ends_at, slow_at) - time.monotonic()))
        except queue.Empty:
            if ends_at <= slow_at:
                raise BlobStoreError(
                    f"the store {url} did not answer within {seconds:g} s ({VARIABLE}); is it up, "
                    f"and reachable from this node?"
                ) from None
            slow_at = float("inf")
            slow()
        else:
            found.append(answer.result())
    return found
