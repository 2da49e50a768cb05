"""Which line touched the driver first: by the kernel's word, for files in the place of devices."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from rekindle.gpu_restore import touched
from rekindle.gpu_restore.touched import Watch, condense, reasons
from rekindle.linux.libc import libc

#: A program that has something open a file deep in C, where Python's own hooks see nothing.
_PROGRAM = """
import ctypes, os, sys
sys.path.insert(0, {packages!r})
from rekindle.gpu_restore.touched import Watch
watch = Watch({prefix!r})
watch.begin()
libc = ctypes.CDLL(None)

def load():
    kept = 1
    {line}
    return kept

load()
watch.end()
print(watch.where)
"""
_OPEN = "libc.open({file!r}.encode(), 0)"


def _run(tmp_path: Path, line: str) -> str:
    (tmp_path / "fake-gpu0").touch()
    (tmp_path / "fake-gpu0-uvm").touch()
    packages = tmp_path / "site-packages"
    packages.mkdir()
    script = tmp_path / "app.py"
    script.write_text(
        _PROGRAM.format(
            packages=str(packages),
            prefix=str(tmp_path / "fake-gpu"),
            line=line.format(file=str(tmp_path / "fake-gpu0")),
        )
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_the_line_that_opened_it_is_named(tmp_path: Path) -> None:
    assert _run(tmp_path, _OPEN) == f"{tmp_path}/app.py:11 in load"


def test_without_an_open_nothing_is_named(tmp_path: Path) -> None:
    assert _run(tmp_path, "kept += 1") == ""


def test_the_line_of_cuda_counts_where_nvml_looked_before(tmp_path: Path) -> None:
    nvml = "libc.close(" + _OPEN + ")"
    cuda = "libc.open(({file!r} + '-uvm').encode(), 0)"
    assert _run(tmp_path, f"{nvml}\n    {cuda}\n    {_OPEN}") == f"{tmp_path}/app.py:12 in load"


def test_an_open_by_another_process_is_not_ours(tmp_path: Path) -> None:
    other = "__import__('subprocess').run(['cat', {file!r}])"
    assert _run(tmp_path, other) == ""


def test_the_watch_leaves_no_descriptor_and_the_signal_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "gpu0").touch()
    before = touched.open_files("")
    watch = Watch(str(tmp_path / "gpu"))
    watch.begin()
    watch.end()
    watch.end()
    assert touched.open_files("") == before


def test_where_nothing_more_can_be_watched_a_template_goes_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gpu0").touch()
    monkeypatch.setattr(touched, "libc", SimpleNamespace(inotify_init1=lambda _flags: -1))
    watch = Watch(str(tmp_path / "gpu"))
    watch.begin()
    (tmp_path / "gpu0").read_bytes()
    watch.end()
    assert watch.where == ""


def test_an_import_of_a_package_is_named_with_the_line_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed = tmp_path / "installed"
    installed.mkdir()
    (installed / "kernels.py").write_text("import look_here\nWHERE = look_here.look()\n")
    (tmp_path / "own.py").write_text("def load():\n    import kernels\n    return kernels.WHERE\n")
    look_here = ModuleType("look_here")
    look_here.look = lambda: touched.in_words(sys._getframe(1))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "look_here", look_here)
    monkeypatch.setattr(touched, "_NOT_THE_USERS", (str(installed), "<frozen"))
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.syspath_prepend(str(tmp_path))
    found = importlib.import_module("own").load()
    for name in ("own", "kernels"):
        del sys.modules[name]
    assert found == f"{tmp_path}/own.py:2 in load, at the import of kernels"


def test_cuda_is_told_from_nvml_by_what_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = Watch(where="app.py:3 in load")
    opened = ["/dev/nvidia0", "/dev/nvidiactl"]
    monkeypatch.setattr(touched, "open_files", lambda _prefix="": opened)
    monkeypatch.setattr(touched, "library_state", lambda: None)
    assert "by NVML most likely" in reasons(watch, expects_gpu=True)[0]
    opened.append("/dev/nvidia-uvm")
    (found,) = reasons(watch, expects_gpu=True)
    assert found.startswith("CUDA was initialised at app.py:3 in load; use the GPU in")


def test_a_cuda_that_found_no_device_is_harm_only_where_one_is_to_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(touched, "open_files", lambda _prefix="": [])
    monkeypatch.setattr(touched, "library_state", lambda: 100)
    assert reasons(Watch(), expects_gpu=False) == []
    assert "keeps the answer, error 100" in reasons(Watch(), expects_gpu=True)[0]


def test_one_reason_stands_for_all_device_files() -> None:
    given = [
        "open device: fd 7 is /dev/nvidiactl; use the GPU in @enter(snap=False) only",
        "/dev/nvidia0 is mapped at 0x7f, 4096 bytes (memory of a device); x",
        "thread cuda-EvtHandlr (native, id 7) is alive",
    ]
    assert condense(given, []) == given
    assert condense(given, ["CUDA was initialised"])[0] == "CUDA was initialised"
    assert len(condense(given, ["CUDA was initialised"])) == 2


def test_a_library_that_is_not_loaded_says_nothing() -> None:
    assert touched.library_state(["/usr/lib/libc.so.6"]) is None


def test_nvml_that_stays_open_for_a_while_and_is_closed_again_leaves_no_reason(
    tmp_path: Path,
) -> None:
    (tmp_path / "gpuctl").touch()
    watch = Watch(str(tmp_path / "gpu"))
    watch.begin()
    with open(tmp_path / "gpuctl"):  # as nvmlInit leaves it
        libc.getppid()  # the signal's handler has run
        assert "by NVML most likely" in reasons(watch, expects_gpu=True)[0]
    watch.end()
    assert watch.where and reasons(watch, expects_gpu=True) == []


def test_a_library_that_asked_cuda_keeps_the_answer_though_nothing_is_open(tmp_path: Path) -> None:
    (tmp_path / "gpuctl").touch()
    watch = Watch(str(tmp_path / "gpu"))
    watch.begin()
    with open(tmp_path / "gpuctl"):  # NVML's, before
        pass
    watch.note()
    line = sys._getframe().f_lineno - 1
    watch.end()
    (found,) = reasons(watch, expects_gpu=True)
    assert found.startswith("CUDA was asked for its devices at ")
    assert f"{Path(__file__).name}:{line} in " in found


def test_after_the_watch_a_child_that_has_it_still_brings_no_signal(tmp_path: Path) -> None:
    (tmp_path / "gpu0").touch()
    watch = Watch(str(tmp_path / "gpu"))
    watch.begin()
    kept = os.dup(watch._fd)  # as a child that was forked before has it
    try:
        watch.end()
        came: list[int] = []
        former = signal.signal(touched._SIGNAL, lambda number, _frame: came.append(number))
        try:
            (tmp_path / "gpu0").read_bytes()
        finally:
            signal.signal(touched._SIGNAL, former)
        assert os.read(kept, 4096) and came == []
    finally:
        os.close(kept)
