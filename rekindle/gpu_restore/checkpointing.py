"""``python -m rekindle.gpu_restore.checkpointing``: makes the driver's checkpoint calls for others.

A process of its own, as a driver that crashes in such a call is not to take an agent along. It has
no context and no device memory: only the driver is started, which is what a restore asks for. One
line of JSON for each order and answer; several orders are under way at once. Says first whether
this machine can take GPU snapshots at all, and move them. Ends with its standard input.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from typing import Any, TextIO

from rekindle.exception import CudaError, GpuError
from rekindle.gpu_restore import checkpoint, cuda
from rekindle.gpu_restore.cuda import Driver
from rekindle.linux import processes
from rekindle.linux.passing import says_passing


def main() -> int:
    """Obey until the end of the input."""
    processes.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: its agent ends it
    serve(sys.stdin, sys.stdout)
    return 0


def serve(orders: TextIO, answers: TextIO) -> None:
    """``{"id", "op", "pid", "moved"}`` -> ``{"id", "reason"}``, where "" is that it is done.

    ``op`` is ``suspend`` or ``resume``.
    """
    lock = threading.Lock()

    def answer(said: dict[str, Any]) -> None:
        with lock:
            answers.write(json.dumps(said) + "\n")
            answers.flush()

    driver, why_not, passes = _start()
    if driver is None:
        answer({"why_not": why_not, "passes": passes})
        return
    answer({"why_not": "", "why_not_moved": checkpoint.why_not_moved(driver)})
    for line in orders:
        order = json.loads(line)
        threading.Thread(target=_obey, args=(driver, order, answer), daemon=True).start()


def _start() -> tuple[Driver | None, str, bool]:
    """The driver; or why there is none, and whether it may be another answer later."""
    try:
        driver = cuda.load()
        if why_not := checkpoint.why_not(driver):
            return None, why_not, False
        driver.init()
    except CudaError as error:
        return None, str(error), error.code in cuda.PASSING
    except GpuError as error:
        return None, str(error), says_passing(str(error))
    return driver, "", False


def _obey(driver: Driver, order: dict[str, Any], answer: Any) -> None:
    try:
        if order["op"] == "suspend":
            checkpoint.suspend(driver, order["pid"])
        else:
            checkpoint.resume(driver, order["pid"], order["moved"])
        reason = ""
    except GpuError as error:
        reason = str(error)
    answer({"id": order["id"], "reason": reason})


if __name__ == "__main__":
    sys.exit(main())
