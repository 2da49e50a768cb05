"""Sections of ``bench/gpu.py``, with what they measure replaced."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rekindle.gpu_restore import cuda
from rekindle.gpu_restore.cuda import Driver
from rekindle.sdk.calls.call_record import CallRecord
from tests.gpu_restore.fake_cuda import FakeCuda

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Its modules."""
    monkeypatch.syspath_prepend(str(BENCH))
    from on_gpu import floor, gpu_starts, machine, report, strategies, torch_here

    return SimpleNamespace(
        floor=floor,
        gpu_starts=gpu_starts,
        machine=machine,
        report=report,
        strategies=strategies,
        torch_here=torch_here,
    )


class Section:
    """Rows of one, as they are on disk."""

    def __init__(self, on_gpu: SimpleNamespace, tmp_path: Path) -> None:
        self.path = tmp_path / "gpu.jsonl"
        self.report = on_gpu.report.Report(self.path, "a section")
        self.options = lambda seconds=60.0: on_gpu.report.Options(False, True, tmp_path, seconds)

    def rows(self) -> dict[str, dict[str, Any]]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return {row["what"]: row for row in map(json.loads, lines)}


@pytest.fixture
def section(on_gpu: SimpleNamespace, tmp_path: Path) -> Section:
    return Section(on_gpu, tmp_path)


def record(total_ms: float = 5.0, notes: tuple[str, ...] = (), **phases: float) -> CallRecord:
    return CallRecord(
        call_id="c",
        index=0,
        function="f",
        strategy="restore",
        runner_id="r",
        ok=True,
        total_ms=total_ms,
        phases=phases,
        notes=notes,
    )


class Model:
    """One whose starts are those that are given; what was asked of it, in order."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, on_gpu: SimpleNamespace, *starts: Any
    ) -> None:
        self.asked: list[str] = []
        self.infer = SimpleNamespace(prepare=lambda strategy: self.asked.append(f"{strategy}"))
        self._starts = iter(starts)
        monkeypatch.setattr(on_gpu.strategies, "one_call", self._call)

    def _call(self, _made: object) -> Any:
        self.asked.append("call")
        found = next(self._starts)
        if callable(found):
            found = found()
        return found if isinstance(found, tuple) else (found, 0.0)


def ends_here() -> None:
    raise KeyboardInterrupt


def test_a_figure_of_the_floor_is_on_disk_before_the_next_is_measured(
    on_gpu: SimpleNamespace, section: Section
) -> None:
    seen: list[set[str]] = []

    def measure() -> dict[str, float]:
        seen.append(set(section.rows()))
        return {"all": 3.0, "init": 1.0}

    kinds = {"one": measure, "other": measure}
    found = on_gpu.floor._medians(section.report, section.options(), kinds, 2)
    assert found == {"one": 3.0, "other": 3.0}
    assert seen[1] == {"one, first time"}
    assert seen[2] == {"one, first time", "other, first time"}


def test_rounds_end_with_the_time_of_their_section(
    on_gpu: SimpleNamespace, section: Section
) -> None:
    count = []

    def measure() -> dict[str, float]:
        count.append(1)
        return {"all": 3.0}

    on_gpu.floor._medians(section.report, section.options(0.0), {"one": measure}, 5)
    assert len(count) == 1  # a figure of each there is, whatever the time
    assert section.rows()["one"]["runs"] == [3.0]


def test_each_start_is_prepared_and_on_disk_before_the_next(
    on_gpu: SimpleNamespace, section: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(monkeypatch, on_gpu, record(4.0), record(6.0), ends_here)
    with pytest.raises(KeyboardInterrupt):
        on_gpu.strategies.measure(section.report, section.options(), model, "restore", 5, 1000)
    assert model.asked == ["restore", "call"] * 3
    rows = section.rows()
    assert rows["restore, start 1"]["value"] == 4.0 and rows["restore, start 2"]["value"] == 6.0


def test_a_warm_runner_is_prepared_once_and_keeps_its_lease(
    on_gpu: SimpleNamespace, section: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(monkeypatch, on_gpu, record(1.0), record(3.0))
    on_gpu.strategies.measure(section.report, section.options(), model, "warm", 2, 1000)
    assert model.asked == ["warm", "call", "call"]
    assert section.rows()["warm"]["value"] == 2.0


def test_starts_end_with_the_time_of_their_section(
    on_gpu: SimpleNamespace, section: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(monkeypatch, on_gpu, record(4.0))
    options = section.options(0.0)
    found = on_gpu.strategies.measure(section.report, options, model, "restore", 5, 1000)
    assert len(found) == 1 and section.rows()["restore"]["runs"] == [4.0]


def test_a_wrong_result_is_said_and_a_failed_start_loses_no_other(
    on_gpu: SimpleNamespace, section: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise RuntimeError("no memory")

    model = Model(monkeypatch, on_gpu, (record(4.0), 0.5), fails)
    on_gpu.strategies.measure(section.report, section.options(), model, "restore", 5, 1000)
    rows = section.rows()
    assert rows["wrong"]["text"] == "restore: the result is off by 0.5"
    assert rows["restore"]["runs"] == [4.0] and rows["restore"]["error_of_result"] == 0.5


@pytest.mark.parametrize(
    ("why_of", "notes", "phases", "why"),
    [
        ("_why_no_gpu_snapshot", ("without a GPU snapshot (busy)",), {"restore": 3.0}, "(busy)"),
        ("_why_no_gpu_snapshot", (), {"gpu_restore": 3.0}, ""),
        ("_why_not_held", ("weights: 1.00 GB to the device in 1 s",), {}, "1.00 GB to the device"),
        ("_why_not_held", ("weights: held on the GPU, nothing to copy",), {}, ""),
        ("_why_not_shared", ("weights are not shared with other runners: full",), {}, "full"),
        ("_why_not_shared", ("weights: 1.00 GB to the device in 1 s",), {}, ""),
    ],
)
def test_a_start_that_came_to_be_otherwise_is_not_measured_under_that_name(
    on_gpu: SimpleNamespace,
    section: Section,
    monkeypatch: pytest.MonkeyPatch,
    why_of: str,
    notes: tuple[str, ...],
    phases: dict[str, float],
    why: str,
) -> None:
    model = Model(monkeypatch, on_gpu, record(notes=notes, **phases))
    asked: Callable[[CallRecord], str] = getattr(on_gpu.gpu_starts, why_of)
    on_gpu.strategies.measure(
        *(section.report, section.options(), model, "restore", 1, 1000, "it"), why_other=asked
    )
    row = section.rows()["it"]
    assert (why in row["not_measured"]) if why else row["value"] == 5.0


def test_starts_in_a_row_are_counted_as_they_go_until_one_is_none(
    on_gpu: SimpleNamespace, section: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = record(gpu_restore=1.0)
    model = Model(monkeypatch, on_gpu, *[good] * 12, record(notes=("it crashed",)))
    on_gpu.gpu_starts._in_a_row(section.report, section.options(), model, 50)
    rows = section.rows()
    what = "starts from a GPU snapshot in a row"
    assert rows[f"{what}, so far"]["value"] == 10
    assert rows[what]["value"] == 12 and rows[what]["failed"].endswith("it crashed")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """bench/gpu.py."""
    monkeypatch.syspath_prepend(str(BENCH))
    monkeypatch.delitem(sys.modules, "gpu", raising=False)
    return importlib.import_module("gpu")


def test_what_is_planned_fits_into_the_time_that_there_is(gpu: Any) -> None:
    assert sum(one.planned for one in gpu.SECTIONS) <= gpu.MINUTES * 60
    assert all(one.planned <= one.seconds for one in gpu.SECTIONS)


def test_a_machine_that_can_have_no_start_says_so(
    on_gpu: SimpleNamespace, section: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = on_gpu.machine
    monkeypatch.setattr(machine.doctor, "examine", lambda _find_redis: [])
    monkeypatch.setattr(machine.doctor, "what_works", lambda _checks: ([], ["forks (namespaces)"]))
    machine._starts(section.report)
    assert section.rows()["starts that there can be"]["text"] == "none"
    assert section.rows()["starts"]["not_measured"] == "forks (namespaces)"


def test_a_section_that_cannot_be_killed_is_left_and_said(
    gpu: Any, section: Section, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hangs.py").write_text("import signal\nsignal.pause()\n")
    monkeypatch.setattr(gpu, "__file__", str(tmp_path / "hangs.py"))
    monkeypatch.setattr(gpu, "DIES_S", 0.1)
    asked: list[int] = []
    # As one in an uninterruptible call: the signal is sent, and nothing happens.
    with monkeypatch.context() as patched:
        patched.setattr(gpu.os, "killpg", lambda pid, _signal: asked.append(pid))
        options = SimpleNamespace(quick=False, stand_in=True)
        gpu._run(gpu.Section("hangs", "hangs.run", 1, 1), 0.1, section.path, options)
    os.killpg(asked[0], signal.SIGKILL)
    os.waitpid(asked[0], 0)
    assert "cannot be killed" in section.rows()["rest of the section"]["not_measured"]


_HANGS = """
import sys, time
sys.path[:0] = [{bench!r}, {root!r}]
import gpu
from on_gpu import machine

def run(report, options):
    print("begun", flush=True)
    time.sleep(60)
    print("still there", flush=True)

machine.run = run
gpu.__file__ = __file__
if __name__ == "__main__":
    sys.exit(gpu.main())
"""


def test_a_section_ends_with_the_script_however_that_ends(tmp_path: Path) -> None:
    script = tmp_path / "hangs.py"
    script.write_text(_HANGS.format(bench=str(BENCH), root=str(BENCH.parent)))
    argv = [sys.executable, str(script), "--only", "machine", "--out", str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.kill()
        assert process.stdout.read() == ""  # once nobody has it open any more


def test_a_figure_is_printed_where_it_cannot_be_written(
    on_gpu: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    on_gpu.report.Report(Path("/dev/full"), "a section").row("one", 3.0, "ms")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"section": "a section", "what": "one", "value": 3.0, "unit": "ms"}
    assert err.startswith("a figure is not in the file: ")


@pytest.mark.parametrize(
    ("built_for", "driver", "why"),
    [
        ("None", 13000, "torch 2.9.9 is without CUDA"),
        ("'13.0'", 12080, "torch 2.9.9 is for CUDA 13.0, this driver for 12.8 at most"),
        ("'13.2'", 13000, ""),
        ("'12.6'", 13000, ""),
    ],
)
def test_a_torch_that_cannot_use_the_gpu_is_told_without_importing_it(
    on_gpu: SimpleNamespace,
    section: Section,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    built_for: str,
    driver: int,
    why: str,
) -> None:
    torch = tmp_path / "torch"
    torch.mkdir()
    (torch / "__init__.py").write_text("raise ImportError('not to be imported')\n")
    (torch / "version.py").write_text(f"__version__ = '2.9.9'\ncuda = {built_for}\n")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(cuda, "load", lambda: Driver(FakeCuda(version=driver)))
    options = on_gpu.report.Options(False, False, tmp_path, 60.0)
    assert on_gpu.torch_here.why_not(options) == why


def test_without_a_torch_of_use_the_model_is_one_without_torch(
    on_gpu: SimpleNamespace, section: Section, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_gpu.torch_here, "why_not", lambda _options: "torch is without CUDA")
    monkeypatch.setattr(on_gpu.strategies, "ready", lambda *_: True)
    from on_gpu import program

    measured: list[Any] = []
    monkeypatch.setattr(on_gpu.strategies, "measure", lambda *given: measured.append(given[2]))
    monkeypatch.setattr(program, "app", SimpleNamespace(run=contextlib.nullcontext))
    monkeypatch.setattr(program, "Plain", lambda megabytes: f"plain of {megabytes}")
    on_gpu.strategies.gigabyte(section.report, section.options())
    assert set(measured) == {"plain of 135"}
    why = section.rows()["strategies with a torch module"]["not_measured"]
    assert why == "torch is without CUDA"
