"""A fresh, isolated process for every input, PyTorch preloaded: inputs a second, sustained.

Beside ProcessPoolExecutor, whose processes are fresh and not isolated, and beside the floor: bare
forks of an empty Python process on as many cores. Each in the forms that a user would try; the
quickest counts.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

from lab.steps import Steps
from rekindle.exception import Error, ExecutionError
from rekindle.sdk.calls import records
from starting import bare
from starting.figures import FreshFigures, Rate
from starting.places import Place

CORES = len(os.sched_getaffinity(0))
_WORKER = Path(__file__).with_name("pool_worker.py")
#: Callers at once, and workers of the pool: as many as there are cores, and twice that.
_WIDTHS = (CORES, 2 * CORES)


def measure(place: Place, seconds: float, steps: Steps) -> FreshFigures:
    """Each for so long: shortly in every form first, then all of the time in the best one."""
    ours = [partial(_remote, place, width) for width in _WIDTHS] + [partial(_mapped, place)]
    pools = [partial(_pool, width) for width in _WIDTHS]
    shortly_s = seconds / 8
    floor, tried, chosen = [bare.rate_on_cores(CORES, shortly_s)], list[Rate](), list[Rate]()
    for forms in (ours, pools):
        shortly = []
        for run in forms:
            shortly.append(run(shortly_s))
            steps.say(f"{shortly[-1].form}: {shortly[-1].per_second:.0f}/s")
        fastest = max(range(len(forms)), key=lambda number: shortly[number].per_second)
        chosen.append(forms[fastest](seconds))
        steps.say(f"{chosen[-1].form}, {seconds:g} s: {chosen[-1].per_second:.0f}/s")
        tried += shortly
        floor.append(bare.rate_on_cores(CORES, shortly_s))
    return FreshFigures(CORES, seconds, chosen[0], chosen[1], tried, floor)


def _remote(place: Place, width: int, seconds: float) -> Rate:
    lock, errors, counts = threading.Lock(), list[str](), list[int]()
    began = time.perf_counter()

    def caller() -> None:
        count = 0
        while time.perf_counter() - began < seconds:
            try:
                _check(place.functions.fresh.remote(count))
            except Error as error:
                with lock:
                    errors.append(f"{type(error).__name__}: {error}")
                return
            count += 1
        with lock:
            counts.append(count)

    threads = [threading.Thread(target=caller, daemon=True) for _ in range(width)]
    with records.collect() as finished:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    took = time.perf_counter() - began
    served = {one.strategy for one in finished}
    form = f"remote, {width} threads"
    return Rate(form, sum(counts) / took, sum(counts), tuple(errors), tuple(sorted(served)))


def _mapped(place: Place, seconds: float) -> Rate:
    began, count = time.perf_counter(), 0
    values = place.functions.fresh.map(itertools.count(), order_outputs=False)
    try:
        for value in values:
            _check(value)
            count += 1
            if time.perf_counter() - began >= seconds:
                break
    except Error as error:
        return Rate("map", 0.0, count, (f"{type(error).__name__}: {error}",))
    finally:
        took = time.perf_counter() - began
        values.close()  # what is left is cancelled
    return Rate("map", count / took, count)


def _check(found: tuple[int, bool]) -> None:
    served, loaded = found
    if served != 1 or not loaded:
        raise ExecutionError(f"a process was at its input {served}, with torch: {loaded}")


def _pool(workers: int, seconds: float) -> Rate:
    """In a process group of its own, all of which is ended where it hangs."""
    form = f"ProcessPoolExecutor, max_workers={workers}"
    process = subprocess.Popen(
        [sys.executable, str(_WORKER), str(workers), str(seconds)],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=2 * seconds + 60)
    except subprocess.TimeoutExpired:
        return Rate(form, 0.0, errors=("hangs",))
    finally:
        _end(process)
    if process.returncode:
        return Rate(form, 0.0, errors=(f"ended with {process.returncode}",))
    answer = json.loads(out)
    wrong = answer["wrong"]
    errors = (f"{wrong} inputs had a process that was not fresh",) if wrong else ()
    return Rate(form, answer["per_second"], answer["inputs"], errors)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)  # its fork server and workers are in its group
    except ProcessLookupError:
        pass
    process.wait()
