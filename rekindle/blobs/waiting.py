"""How long somebody waits for a store that says nothing, and asking it for no longer than that.

A store's client may wait for minutes, and try again; a thread that it keeps is left behind then.
Knows nothing of what is asked.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from contextlib import closing
from typing import Generic, TypeVar

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
    ends_at = time.monotonic() + seconds
    slow_at = time.monotonic() + _SLOW_S
    found: list[R] = []
    with closing(_Asking(ask, items, at_once)) as asking:
        while asking.pending:
            try:
                found.append(asking.next(min(ends_at, slow_at) - time.monotonic()))
            except queue.Empty:
                if ends_at <= slow_at:
                    raise _silent(f"the store {url} did not answer", seconds) from None
                slow_at = float("inf")
                slow()
    return found


def ask(what: Callable[[], R], *, url: str, seconds: float) -> R:
    """One answer of a store. Raises as ``ask_all``."""
    (found,) = ask_all(lambda _: what(), [None], url=url, at_once=1, seconds=seconds)
    return found


def ask_each(
    ask: Callable[[T], R], items: Iterable[T], *, what: str, at_once: int, seconds: float
) -> Generator[R, None, None]:
    """The same one by one, however long all of them take. Who takes them slowly has few of them in
    memory.

    Raises what ``ask`` does, and BlobStoreError, about ``what``, where none comes for ``seconds``.
    """
    with closing(_Asking(ask, items, at_once)) as asking:
        while asking.pending:
            try:
                answer = asking.next(seconds)
            except queue.Empty:
                raise _silent(f"nothing of {what} came", seconds) from None
            yield answer


def _silent(what: str, seconds: float) -> BlobStoreError:
    return BlobStoreError(
        f"{what} within {seconds:g} s ({VARIABLE}); is it up, and reachable from this node?"
    )


class _Asking(Generic[T, R]):
    """Threads that ask. Not a pool's: the interpreter waits for those when it ends."""

    def __init__(self, ask: Callable[[T], R], items: Iterable[T], at_once: int) -> None:
        self._ask = ask
        self._left = iter(items)
        self._at_once = at_once
        self._asked: queue.SimpleQueue[tuple[T] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Future[R]] = queue.SimpleQueue()
        self._threads = 0
        self._closed = False
        #: Answers that are to come.
        self.pending = 0
        for _ in range(2 * at_once):
            self._ask_one_more()

    def next(self, seconds: float) -> R:
        """One more answer. Raises what ``ask`` does, and queue.Empty where none comes in time."""
        answer = self._answers.get(timeout=max(0.0, seconds))
        self.pending -= 1
        self._ask_one_more()
        return answer.result()

    def close(self) -> None:
        """Ask for no more. Who asks just now is left behind."""
        self._closed = True
        for _ in range(self._threads):
            self._asked.put(None)

    def _ask_one_more(self) -> None:
        for item in self._left:
            self._asked.put((item,))
            self.pending += 1
            if self._threads < self._at_once:
                self._threads += 1
                threading.Thread(target=self._work, name="ask-store", daemon=True).start()
            return

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None and not self._closed:
            answer: Future[R] = Future()
            try:
                answer.set_result(self._ask(*asked))
            except BaseException as error:  # noqa: BLE001 - goes to who asks, whatever it is
                answer.set_exception(error)
            self._answers.put(answer)
