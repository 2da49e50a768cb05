"""The standard library's ProcessPoolExecutor. No isolation, no queue that outlives its process."""

from __future__ import annotations

import multiprocessing
import platform
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from peers import served, work

_model: Any = None


def _meet(directory: str, count: int) -> int:
    assert work.forward(_model) != 0
    return work.meet(directory, count)


@contextmanager
def _pool(workers: int, method: str = "fork", **more: Any) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(workers, mp_context=context, **more) as pool:
        yield pool


@contextmanager
def calls() -> Iterator[served.Measures]:
    with _pool(work.CORES) as pool:

        def call(function: Callable[..., Any], *arguments: Any) -> Any:
            return pool.submit(function, *arguments).result(work.CALL_S)

        def fan_out(count: int, size: int) -> float:
            return work.whole(
                lambda: pool.map(work.nothing, range(count), chunksize=size, timeout=work.CALL_S),
                count,
            )

        yield {
            "warm": {
                "submit().result()": lambda count: work.each(lambda: call(work.nothing), count)
            },
            "fan_out": {"map": lambda count: fan_out(count, 1)},
            "fan_out_batched": {"map, chunks of 100 by hand": lambda count: fan_out(count, 100)},
            "sent": {
                "submit().result()": lambda **asked: work.sent(
                    lambda v: call(work.look, v), **asked
                )
            },
            "fetched": {
                "submit().result()": lambda **asked: work.fetched(
                    lambda kind, size: call(work.payload, kind, size), **asked
                )
            },
        }


@contextmanager
def slots() -> Iterator[served.Measures]:
    with _pool(work.SLOTS) as pool:

        def run(count: int, milliseconds: float) -> float:
            return work.whole(
                lambda: pool.map(work.nap, [milliseconds] * count, timeout=work.CALL_S), count
            )

        run(4 * work.SLOTS, 1)
        yield {"slots": {f"map, {work.SLOTS} processes": run}}


@contextmanager
def isolated() -> Iterator[served.Measures]:
    # A fork server with PyTorch: a fork of the program itself is quicker, and not allowed together
    # with max_tasks_per_child.
    multiprocessing.set_forkserver_preload(["torch"])
    with _pool(1, "forkserver", max_tasks_per_child=1) as pool:
        yield {
            "isolated": {
                "max_tasks_per_child=1, fork server": lambda count: work.fresh_each(
                    lambda: pool.submit(work.fresh).result(work.CALL_S), count
                )
            }
        }


@contextmanager
def memory() -> Iterator[served.Measures]:
    global _model
    _model = work.model()  # before the fork: shared

    def start(count: int) -> list[int]:
        with tempfile.TemporaryDirectory(prefix="rk-meet-") as directory:
            futures = [pool.submit(_meet, directory, count) for _ in range(count)]
            return [future.result(work.CALL_S) for future in futures]

    with _pool(8) as pool:
        yield {"memory": {"forked from a parent with the model": start}}


if __name__ == "__main__":
    served.main(
        f"ProcessPoolExecutor (Python {platform.python_version()})",
        {"calls": calls, "slots": slots, "isolated": isolated, "memory": memory},
    )
