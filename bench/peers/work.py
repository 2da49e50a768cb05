"""What all peers are given to do, and how it is timed. Standard library alone until it is used."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

CORES = len(os.sched_getaffinity(0))
#: The model of the memory row: 20 x Linear(1024, 1024), 84 MB.
LAYERS, WIDTH = 20, 1024
#: Slots of the third row.
SLOTS = 64

#: How long a peer waits for one result, or for all of a fan-out, before it is said to hang. Twice
#: that is within the limit on a measurement (process.MEASURE_S).
CALL_S = float(os.environ.get("PEER_CALL_S", "120"))
_BUDGET_S, _AT_LEAST = 12.0, 2

_served = 0
_payloads: dict[tuple[str, int], Any] = {}


# ---- what is called ----------------------------------------------------------------------------


def nothing(_n: int = 0) -> None:
    """Do nothing."""


def nap(milliseconds: float) -> None:
    """Take some time, and no processor."""
    time.sleep(milliseconds / 1000)


def look(value: Any) -> int:
    """What a receiver does with a payload: its length, its first and its last byte."""
    whole = memoryview(value).cast("B")
    return len(whole) + whole[0] + whole[-1]


def payload(kind: str, size: int) -> Any:
    """A payload of ``size`` bytes, "bytes" or "array"; made once in a process."""
    key = (kind, size)
    if key not in _payloads:
        if kind == "bytes":
            _payloads[key] = b"\x01" * size
        else:
            import numpy

            _payloads[key] = numpy.ones(size // 8, dtype=numpy.int64)
    return _payloads[key]


def expected(kind: str, size: int) -> int:
    """What ``look`` must find in ``payload(kind, size)``."""
    return size + (2 if kind == "bytes" else 1)  # an int64 of 1 ends with a zero byte


def fresh() -> list[Any]:
    """How many calls this process has served, this one too, and whether PyTorch was there."""
    global _served
    _served += 1
    return [_served, "torch" in sys.modules]


def model() -> Any:
    """The model, which has answered once, so that all of it is in memory.

    One thread computes: a process in which PyTorch has others must not be forked. The child waits
    for ever for threads that did not come along.
    """
    import torch

    torch.set_num_threads(1)

    made = torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))).eval()
    forward(made)
    return made


def forward(made: Any) -> float:
    """One answer of the model."""
    import torch

    with torch.inference_mode():
        return float(made(torch.ones(1, WIDTH)).sum())


# ---- how it is timed ---------------------------------------------------------------------------


def each(call: Callable[[], Any], count: int, first: int = 20) -> list[float]:
    """Milliseconds of each of ``count`` calls one after another, ``first`` ones not counted.

    Fewer than ``count`` where those would take longer than ``_BUDGET_S``.
    """
    for _ in range(first):
        call()
    took: list[float] = []
    until = time.monotonic() + _BUDGET_S
    while len(took) < count and (len(took) < _AT_LEAST or time.monotonic() < until):
        began = time.perf_counter_ns()
        call()
        took.append((time.perf_counter_ns() - began) / 1e6)
    return took


def whole(run: Callable[[], Iterable[Any]], count: int) -> float:
    """Seconds until ``run`` has given all of ``count`` results."""
    began = time.perf_counter()
    got = sum(1 for _ in run())
    took = time.perf_counter() - began
    if got != count:
        raise RuntimeError(f"{got} results came of {count} inputs")
    return took


def sent(call: Callable[[Any], int], kind: str, size: int, count: int) -> list[float]:
    """Milliseconds of calls that take a payload and give a number."""
    given, right = payload(kind, size), expected(kind, size)
    return each(lambda: _check(call(given), right), count, first=1)


def fetched(call: Callable[[str, int], Any], kind: str, size: int, count: int) -> list[float]:
    """Milliseconds of calls that take a number and give a payload."""
    right = expected(kind, size)
    return each(lambda: _check(look(call(kind, size)), right), count, first=1)


def fresh_each(call: Callable[[], list[Any]], count: int) -> list[float]:
    """Milliseconds of calls of ``fresh``; an error where a process served two."""

    def checked() -> None:
        served, preloaded = call()
        if served != 1 or not preloaded:
            raise RuntimeError(f"a process was at its call {served}, with torch: {preloaded}")

    return each(checked, count, first=3)


def _check(got: int, right: int) -> None:
    if got != right:
        raise RuntimeError(f"a payload was not whole: {got} in place of {right}")


# ---- meeting -----------------------------------------------------------------------------------


def meet(directory: str, count: int, patience_s: float = 120.0) -> int:
    """Wait in this process until ``count`` processes are here; its process id.

    That is how it is made sure that ``count`` workers exist: no one of them can serve two calls.
    """
    with open(os.path.join(directory, f"{time.time_ns()}-{os.getpid()}"), "w"):
        pass
    deadline = time.monotonic() + patience_s
    while len(os.listdir(directory)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(os.listdir(directory))} of {count} came")
        time.sleep(0.01)
    return os.getpid()
