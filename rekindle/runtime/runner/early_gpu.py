"""GPUs in a process that does not know its start yet: a spare, or one that is to be a GPU snapshot.

A spare has its context brought up, no more. For a GPU snapshot the hooks of ``@enter(snap="gpu")``
run, too, and what they leave behind is looked at as what a template's hooks leave is: random
numbers that would repeat, files that were read.
"""

from __future__ import annotations

import os

from rekindle.forkserver import park
from rekindle.linux import capabilities
from rekindle.runtime.runner import devices, gpus, loaded, program, unique
from rekindle.runtime.runner.service import Service
from rekindle.wire import gpu_environment
from rekindle.wire.exceptions import record_exception
from rekindle.wire.frames import Header


def obey(service: Service, order: Header) -> Header:
    """The answer to ``gpu``: ``gpu_ready``, or ``gpu_failed`` and why."""
    try:
        if order["hidden"]:
            devices.hide(order["hidden"])
        if os.geteuid() != 0:
            capabilities.set_aside()
        os.environ.update(order["env"])
        if not order["hooks"]:
            gpus.bring_up()
            return {"op": "gpu_ready", "loaded": {}}
        return _run_hooks(service)
    except BaseException as error:  # noqa: BLE001 - said to the agent, whatever it is
        park.flush_output()
        record = record_exception(error)
        return {
            "op": "gpu_failed",
            "reason": f"{type(error).__name__}: {error}",
            "traceback": record.traceback,
        }


def _run_hooks(service: Service) -> Header:
    park.collect_again()
    program.note_on()
    unique.track()
    service.take_up_loop()
    gpus.bring_up()
    service.run_hooks(service.enter_gpu)
    service.enter_gpu = []
    from rekindle.gpu_restore.device import drop_staging

    drop_staging()  # of copies that are done: not for a snapshot
    service.park_loop()
    program.stop_noting()
    repeating = unique.prepare()
    for name in gpu_environment.OF_A_START:
        os.environ.pop(name, None)
    if os.geteuid() != 0:
        capabilities.take_up()  # no user code runs here any more
    park.quiesce()
    park.flush_output()
    if repeating:
        return {"op": "gpu_failed", "reason": "; ".join(repeating), "traceback": ""}
    return {"op": "gpu_ready", "loaded": loaded.files()}
