"""Nothing of CUDA before a snapshot, and CUDA that works after fork: with the real driver."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

#: A template that answers, then is a runner, in itself and in a fork.
_TEMPLATE = """
import json, os
os.environ["REKINDLE_GPUS_EXPECTED"] = "GPU-0"
from rekindle.gpu_restore import before_snapshot, context, touched
template = before_snapshot.begin()
import torch
said = [torch.cuda.is_available(), torch.cuda.device_count()]
before = touched.open_files()
reasons = touched.reasons(template.watch, expects_gpu=True)
pid = os.fork()
template.leave()
ready = context.bring_up()
result = float(torch.ones(3, device="cuda").sum())
if pid == 0:
    os._exit(0 if result == 3 else 1)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(json.dumps([said, before, reasons, result, status, len(ready.names)]))
"""


def _last(code: str, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_torch_is_answered_in_a_template_and_works_in_it_and_in_its_fork(
    torch_cuda: Any,
) -> None:
    said, opened, reasons, result, status, gpus = _last(_TEMPLATE)
    assert said == [True, 1]
    assert (opened, reasons) == ([], [])
    assert (result, status) == (3.0, 0) and gpus >= 1


_TOUCH = """
import json
from rekindle.gpu_restore import touched
watch = touched.Watch()
watch.begin()
from rekindle.gpu_restore import cuda as driver

def touch():
    library = driver.load()
    library.init(); library.retain_primary(0)

touch()
watch.end()
print(json.dumps([touched.open_files(), touched.reasons(watch, expects_gpu=False), watch.where]))
"""


def test_a_context_is_seen_with_its_device_files_and_where_it_came_from(tmp_path: Path) -> None:
    opened, reasons, where = _last(_TOUCH)
    assert any("uvm" in file for file in opened)
    assert reasons[0].startswith("CUDA was initialised at ")
    assert "driver.py" in where or "<string>" in where


_NVML = """
import json
from rekindle.gpu_restore import touched
watch = touched.Watch()
watch.begin()
import pynvml
pynvml.nvmlInit()
open_now = touched.reasons(watch, expects_gpu=True)
pynvml.nvmlShutdown()
watch.end()
print(json.dumps([open_now, touched.reasons(watch, expects_gpu=True)]))
"""


def test_nvml_is_told_from_cuda_and_leaves_nothing_once_it_is_closed() -> None:
    pytest.importorskip("pynvml")
    open_now, closed = _last(_NVML)
    assert "by NVML most likely" in open_now[0]
    assert closed == []
