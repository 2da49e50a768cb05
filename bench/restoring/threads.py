"""The same call many times at the same moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rekindle.exception import Error
from rekindle.sdk.calls import records
from rekindle.sdk.running import ask_strategy
from rekindle.wire.phases import Strategy


@dataclass
class Together:
    """What came of calls that were made at once."""

    took_ms: list[float] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def together(call: Callable[[], Any], count: int, strategy: Strategy) -> Together:
    """``count`` calls, each on a thread, by one strategy; rekindle's errors are noted."""
    found = Together()
    lock = threading.Lock()
    ready = threading.Barrier(count)

    def one() -> None:
        ready.wait()
        began = time.perf_counter_ns()
        try:
            value = call()
        except Error as error:
            with lock:
                found.errors.append(f"{type(error).__name__}: {error}")
            return
        took = (time.perf_counter_ns() - began) / 1e6
        with lock:
            found.took_ms.append(took)
            found.values.append(value)

    # Both are for the whole process, so they are entered here, around all threads.
    with records.collect() as finished, ask_strategy(strategy.value):
        # Daemons: who gives up waiting for them can end.
        threads = [threading.Thread(target=one, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    others = [record.strategy for record in finished if record.ok and record.strategy != strategy]
    found.errors += [f"asked for {strategy}, served by {other}" for other in others]
    return found
