"""What a template and a runner do about GPUs, where the machine or the function has some.

Loads nothing of it where there are none.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from rekindle.gpu_restore import marks as gpu_marks
from rekindle.wire.gpu_environment import EXPECTED, GPUS, HOLDER, HOLDER_FD
from rekindle.wire.phases import Mark, Phase, now_ns

if TYPE_CHECKING:
    from rekindle.forkserver.inspection import Inspection
    from rekindle.gpu_restore.before_snapshot import Template
    from rekindle.runtime.runner.service import Service
    from rekindle.wire.frames import Header


def in_template() -> None:
    """Before user code, in what is to be a template."""
    if EXPECTED in os.environ or os.path.exists("/dev/nvidiactl"):
        from rekindle.gpu_restore import before_snapshot

        before_snapshot.begin()


def loaded() -> None:
    """After user code: what is looked for is not looked for any more."""
    template = _template()
    if template is not None:
        template.watch.end()


def inspect(found: Inspection) -> None:
    """When a template has parked: what it did with the GPU, in the place of what is left of it."""
    template = _template()
    if template is None:
        return
    from rekindle.gpu_restore import touched

    reasons = touched.reasons(template.watch, expects_gpu=bool(template.uuids))
    found.fork_unsafe[:] = touched.condense(found.fork_unsafe, reasons)
    found.dump_unsafe[:] = touched.condense(found.dump_unsafe, reasons)


def take_holder(order: Header, fds: list[int]) -> list[int]:
    """The descriptors of a start without that of a connection to held weights, which is kept."""
    if not order["holder"]:
        return fds
    os.environ[HOLDER] = f"{HOLDER_FD}{fds[-1]}:{os.getpid()}"
    return fds[:-1]


def run_hooks(service: Service, marks: list[Mark]) -> list[str]:
    """In a runner: bring its GPUs up, then run the hooks for it, as far as they have not run.

    Returns notes for the record of the start. Raises GpuError, or what a hook raises.
    """
    if _template() is not None or os.environ.get(GPUS):
        with gpu_marks.within(marks, None):
            bring_up()
    hooks = [*service.enter_gpu, *service.enter]
    if hooks:
        with gpu_marks.within(marks, Phase.ENTER_RUNNER):
            service.run_hooks(hooks)
        marks.append((Phase.ENTER_RUNNER.value, now_ns()))
    return gpu_marks.take_notes()


def bring_up() -> None:
    """The GPUs of this process, if it has any; from now on it is no template. Raises GpuError."""
    template = _template()
    if template is not None:
        template.leave()
    if os.environ.get(GPUS):
        from rekindle.gpu_restore.context import bring_up

        bring_up()


def _template() -> Template | None:
    module: Any = sys.modules.get("rekindle.gpu_restore.before_snapshot")
    template: Template | None = module.current() if module is not None else None
    return template
