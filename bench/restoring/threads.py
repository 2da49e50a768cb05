"""The same call many times at the same moment."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rekindle.exception import Error
from rekindle.sdk.calls import records
from rekindle.sdk.running import ask_strategy


@dataclass
class Together:
    """What came of calls that were made at once."""

    #: Milliseconds that the caller waited, and the value.
    answers: list[tuple[float, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    #: How many calls were served, by strategy.
    served: Counter[str] = field(default_factory=Counter)

    @property
    def took_ms(self) -> list[float]:
        """Of each answer."""
        return [took_ms for took_ms, _ in self.answers]

    @property
    def values(self) -> list[Any]:
        """Of each answer."""
        return [value for _, value in self.answers]


def together(
    call: Callable[[], Any], count: int, strategy: str = "", patience_s: float | None = None
) -> Together:
    """``count`` calls, each on a thread; rekindle's errors are noted.

    By one strategy, or by whichever comes. Who has no answer after ``patience_s`` is an error.
    """
    found = Together()
    ready = threading.Barrier(count)

    def one() -> None:
        ready.wait(patience_s)
        began = time.perf_counter_ns()
        try:
            value = call()
        except Error as error:
            found.errors.append(f"{type(error).__name__}: {error}")
            return
        found.answers.append(((time.perf_counter_ns() - began) / 1e6, value))

    # Both are for the whole process, so they are entered here, around all threads.
    with records.collect() as finished, ask_strategy(strategy):
        # Daemons: who gives up waiting for them can end.
        threads = [threading.Thread(target=one, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        until = None if patience_s is None else time.monotonic() + patience_s
        for thread in threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
    missing = sum(thread.is_alive() for thread in threads)  # none where there is no limit
    found.errors += [f"hangs: no answer after {patience_s} s"] * missing
    found.served = Counter(record.strategy for record in finished)
    if strategy:
        others = [one.strategy for one in finished if one.ok and one.strategy != strategy]
        found.errors += [f"asked for {strategy}, served by {other}" for other in others]
    return found
