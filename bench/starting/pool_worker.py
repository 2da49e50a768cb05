"""ProcessPoolExecutor with a fresh process for every input, in a process of its own.

python pool_worker.py WORKERS SECONDS

Its fork server has PyTorch loaded: nothing that the standard library has starts a process with it
more quickly (a fork of the program itself is not allowed together with ``max_tasks_per_child``).
The answer is a line of JSON.
"""

import collections
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

_served = 0


def fresh(_number: int) -> tuple[int, bool]:
    """How many inputs this process has had, this one too, and whether PyTorch was there."""
    global _served
    _served += 1
    return _served, "torch" in sys.modules


def main() -> None:
    """Inputs for so long, as many waiting as keep all workers busy."""
    workers, seconds = int(sys.argv[1]), float(sys.argv[2])
    multiprocessing.set_forkserver_preload(["torch"])
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        for number in range(2 * workers):  # the fork server is there, and has loaded PyTorch
            pool.submit(fresh, number).result()
        waiting = collections.deque(pool.submit(fresh, number) for number in range(2 * workers))
        began, count, wrong = time.perf_counter(), 0, 0
        while time.perf_counter() - began < seconds:
            served, loaded = waiting.popleft().result()
            count += 1
            wrong += served != 1 or not loaded
            waiting.append(pool.submit(fresh, count))
        took = time.perf_counter() - began
        print(json.dumps({"per_second": count / took, "inputs": count, "wrong": wrong}), flush=True)
        for future in waiting:
            future.cancel()


if __name__ == "__main__":
    main()
