"""Celery, with a Redis that keeps nothing on disk: broker and result backend."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import celery

from peers import served, work

_PATIENCE_S = 120.0


@contextmanager
def _redis() -> Iterator[str]:
    """Its URL. The binary is named by who starts this (PEER_REDIS_SERVER)."""
    directory = Path(os.environ["TMPDIR"])
    path = directory / "redis.sock"
    argv = [os.environ["PEER_REDIS_SERVER"], "--port", "0", "--unixsocket", str(path)]
    argv += ["--save", "", "--appendonly", "no", "--dir", str(directory)]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                break
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the Redis server for Celery did not come up")
            time.sleep(0.01)
        yield f"redis+socket://{path}"
    finally:
        server.kill()
        server.wait()


@contextmanager
def _worker(*options: str, **environ: str) -> Iterator[ModuleType]:
    """A worker that answers; the module with its tasks."""
    with _redis() as url:
        os.environ["PEER_REDIS"] = url
        argv = [sys.executable, "-m", "celery", "-A", "peers.celery_app", "worker"]
        argv += ["--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
        argv += ["--without-heartbeat", *options]
        process = subprocess.Popen(
            argv, env={**os.environ, "C_FORCE_ROOT": "1", **environ}, stdin=subprocess.DEVNULL
        )
        try:
            from peers import celery_app

            celery_app.nothing.delay().get(timeout=work.CALL_S)
            yield celery_app
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()


def _all_of(task: Any, arguments: list[Any]) -> list[Any]:
    found: list[Any] = celery.group(task.s(a) for a in arguments)().get(timeout=work.CALL_S)
    return found


@contextmanager
def calls() -> Iterator[served.Measures]:
    with _worker("-c", str(work.CORES), PEER_PREFETCH="128") as tasks:

        def fan_out(count: int) -> float:
            return work.whole(lambda: _all_of(tasks.nothing, list(range(count))), count)

        def batched(count: int) -> float:
            def run() -> list[Any]:
                chunks = tasks.nothing.chunks(((n,) for n in range(count)), 100)
                return [one for chunk in chunks.group()().get(timeout=work.CALL_S) for one in chunk]

            return work.whole(run, count)

        yield {
            "warm": {
                "delay().get()": lambda count: work.each(
                    lambda: tasks.nothing.delay().get(timeout=work.CALL_S), count
                )
            },
            "fan_out": {"group": fan_out},
            "fan_out_batched": {"chunks of 100 by hand": batched},
            "sent": {
                "delay().get(), pickle": lambda **asked: work.sent(
                    lambda value: tasks.look.delay(value).get(timeout=work.CALL_S), **asked
                )
            },
            "fetched": {
                "delay().get(), pickle": lambda **asked: work.fetched(
                    lambda kind, size: tasks.payload.delay(kind, size).get(timeout=work.CALL_S),
                    **asked,
                )
            },
        }


def _slots(pool: str) -> Callable[[int, float], float]:
    def measure(count: int, milliseconds: float) -> float:
        with _worker("-P", pool, "-c", str(work.SLOTS)) as tasks:
            _all_of(tasks.nap, [1] * (2 * work.SLOTS))
            return work.whole(lambda: _all_of(tasks.nap, [milliseconds] * count), count)

    return measure


@contextmanager
def slots() -> Iterator[served.Measures]:
    # One worker a form: it is started for the measurement, outside of what is timed.
    yield {"slots": {f"{pool} -c {work.SLOTS}": _slots(pool) for pool in ("threads", "prefork")}}


@contextmanager
def isolated() -> Iterator[served.Measures]:
    with _worker("-c", "1", "--max-tasks-per-child", "1", PEER_PRELOAD="torch") as tasks:
        yield {
            "isolated": {
                "max-tasks-per-child 1, torch in the parent": lambda count: work.fresh_each(
                    lambda: tasks.fresh.delay().get(timeout=work.CALL_S), count
                )
            }
        }


@contextmanager
def memory() -> Iterator[served.Measures]:
    with _worker("-c", "8", PEER_PRELOAD="model") as tasks:

        def start(count: int) -> list[int]:
            with tempfile.TemporaryDirectory(prefix="rk-meet-") as directory:
                asked = celery.group(tasks.meet.s(directory, count) for _ in range(count))()
                pids: list[int] = asked.get(timeout=work.CALL_S)
            return pids

        yield {"memory": {"prefork, the model in the parent": start}}


if __name__ == "__main__":
    served.main(
        f"Celery {celery.__version__}",
        {"calls": calls, "slots": slots, "isolated": isolated, "memory": memory},
    )
