"""An empty Python process that forks children which end at once. Standard library only.

python -I -S fork_exit.py

Each line asks: ``one``, ``at-once COUNT``, or ``rate SECONDS``; each answer is a line of JSON.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable


def cpu_s() -> float:
    """Processor time of this process and of its children that were waited for."""
    own, others = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def one() -> dict[str, float]:
    """From os.fork to the end of the child, waited for."""
    before, began = cpu_s(), time.perf_counter_ns()
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    took = (time.perf_counter_ns() - began) / 1e6
    return {"ms": took, "cpu_ms": (cpu_s() - before) * 1e3}


def at_once(count: float) -> dict[str, list[float]]:
    """Milliseconds from the first os.fork to the end of each of ``count`` children."""
    began = time.perf_counter_ns()
    for _ in range(int(count)):
        if os.fork() == 0:
            os._exit(0)
    took = []
    for _ in range(int(count)):
        os.wait()
        took.append((time.perf_counter_ns() - began) / 1e6)
    return {"ms": took}


def rate(seconds: float) -> dict[str, float]:
    """Children one after another for so long: how many a second."""
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        count += 1
    return {"per_second": count / (time.perf_counter() - began)}


def main() -> None:
    """Answer each line."""
    print("ready", flush=True)
    answers: dict[str, Callable[..., object]] = {"one": one, "at-once": at_once, "rate": rate}
    for line in sys.stdin:
        asked, *numbers = line.split()
        print(json.dumps(answers[asked](*map(float, numbers))), flush=True)


main()
