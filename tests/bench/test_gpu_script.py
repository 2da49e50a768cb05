"""``bench/gpu.py`` without a GPU: lines as they are known, and no section stops another."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.gpu_restore import machines

SCRIPT = Path(__file__).parents[2] / "bench" / "gpu.py"
Rows = list[dict[str, Any]]


def _run(tmp_path: Path, *options: str, stand_in: bool = True, **environ: str) -> Rows:
    done = subprocess.run(
        [
            sys.executable,
            SCRIPT,
            "--out",
            tmp_path,
            "--quick",
            *["--stand-in"] * stand_in,
            *options,
        ],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "gpu.jsonl").read_text().splitlines()
    assert lines == [line for line in done.stdout.splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines]


def _at_the_start_of_python(tmp_path: Path, code: str) -> str:
    """A place on the path that has code run in each of the script's processes."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(code)
    return str(hook)


def test_weights_are_copied_shared_and_compared_with_this_machines_memory(tmp_path: Path) -> None:
    rows = _run(tmp_path, "--only", "link", "--only", "sharing")
    found = {row["what"]: row for row in rows}
    assert found["to_device from the page cache"]["value"] > 0
    assert found["after all users were killed"]["text"] == "the same"
    assert found["checksums"]["damaged"] == []
    assert not [row for row in rows if row["what"] in ("wrong", "failed", "rest of the section")]


@pytest.mark.parametrize("section", ["link", "sharing", "sweep", "checkpoint calls"])
def test_what_cannot_be_measured_says_why(tmp_path: Path, section: str) -> None:
    rows = _run(
        tmp_path,
        *("--only", section),
        stand_in=False,
        PYTHONPATH=_at_the_start_of_python(
            tmp_path,
            "from rekindle.gpu_restore import cuda\n"
            "cuda._PLACES = ('libcuda-that-is-not-there.so.1',)\n",
        ),
    )
    assert rows[0]["not_measured"].startswith("no CUDA driver library")


def test_a_section_that_there_is_not_is_refused_with_those_there_are(tmp_path: Path) -> None:
    argv = [sys.executable, str(SCRIPT), "--out", str(tmp_path), "--only", "lnik"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "checkpoint calls" in done.stderr


def test_a_section_that_fails_or_hangs_stops_no_other(tmp_path: Path) -> None:
    hook = _at_the_start_of_python(
        tmp_path,
        "import os, signal, sys\n"
        "said = ' '.join(sys.orig_argv)\n"
        "if '--section machine' in said: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "if '--section floor' in said: signal.pause()\n",
    )
    rows = _run(
        tmp_path,
        *("--only", "machine", "--only", "floor", "--only", "checkpoint calls"),
        *("--at-most", "3"),
        PYTHONPATH=hook,
    )
    missing = {row["section"]: row["not_measured"] for row in rows if "not_measured" in row}
    assert missing["machine"].startswith("it ended with status -11")
    assert missing["floor"].startswith("stopped after")
    assert {row["section"] for row in rows} == {"machine", "floor", "checkpoint calls"}


def test_what_a_section_says_of_itself_is_kept_though_it_succeeds(tmp_path: Path) -> None:
    hook = _at_the_start_of_python(
        tmp_path,
        "import sys\nif '--section' in ' '.join(sys.orig_argv): print('a note', file=sys.stderr)\n",
    )
    argv = [sys.executable, str(SCRIPT), "--out", str(tmp_path), "--only", "checkpoint calls"]
    environ = os.environ | {"PYTHONPATH": hook}
    done = subprocess.run(
        argv, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and done.stderr == "--- checkpoint calls\na note\n"


def test_a_section_that_is_planned_with_more_than_there_is_leaves_it_to_a_shorter_one(
    tmp_path: Path,
) -> None:
    options = ("--only", "strategies 8 GB", "--only", "checkpoint calls", "--minutes", "0.2")
    rows = _run(tmp_path, *options)
    assert [row["not_measured"] for row in rows if row["section"] == "strategies 8 GB"] == [
        "no time left"
    ]
    assert [
        row for row in rows if row["section"] == "checkpoint calls" and row["what"] == "section"
    ]


def test_which_starts_there_can_be_is_said_before_any(tmp_path: Path) -> None:
    hook = _at_the_start_of_python(
        tmp_path,
        "from rekindle.exception import CriuNotFoundError\n"
        "from rekindle.snapshot import criu\n"
        "def find(): raise CriuNotFoundError('no CRIU in this container')\n"
        "criu.find = find\n",
    )
    rows = _run(tmp_path, "--only", "machine", PYTHONPATH=hook)
    found = {row["what"]: row for row in rows}
    assert "forks" in found["starts that there can be"]["text"]
    assert "restores (CRIU" in found["starts"]["not_measured"]
    assert found["CRIU"]["text"] == "no CRIU in this container"


@pytest.mark.criu
def test_no_start_is_reported_as_one_from_a_gpu_snapshot_where_there_is_none(
    tmp_path: Path,
) -> None:
    found = _run_on_a_t4(
        tmp_path,
        *("strategies 1 GB", "GPU snapshots 1 GB"),
        # Without torch, whose import takes longer than all else of each start.
        PYTHONPATH=_at_the_start_of_python(
            tmp_path,
            "import sys\n"
            "if '--section' in sys.orig_argv:\n"
            f"    sys.path.insert(0, {str(SCRIPT.parent)!r})\n"
            "    from on_gpu import torch_here\n"
            "    torch_here.why_not = lambda _options: 'no torch'\n",
        ),
    )
    why = found["GPU snapshot"]["not_measured"]
    assert why.startswith("the start was no restore of a GPU snapshot: without a GPU snapshot (")
    assert "starts from a GPU snapshot in a row" not in found
    # Of its template with its hooks for the GPU, and without: sections share them.
    assert len(list((tmp_path / "home" / "snapshots").glob("sn-*"))) == 2


@pytest.mark.criu
def test_no_start_is_reported_as_one_with_weights_that_stay_where_none_do(tmp_path: Path) -> None:
    found = _run_on_a_t4(tmp_path, "strategies 1 GB, weights held")
    if importlib.util.find_spec("torch") is None:
        assert found["weights held"]["not_measured"] == "no torch"
    else:
        why = found["restore, brings the weights that stay"]["not_measured"]
        assert why.startswith("weights are not shared with other runners: ")


def _run_on_a_t4(tmp_path: Path, *sections: str, **environ: str) -> dict[str, Any]:
    """The rows of these sections, by what they are of."""
    rows = _run(
        tmp_path,
        *(option for name in sections for option in ("--only", name)),
        REKINDLE_HOME=str(tmp_path / "home"),
        REKINDLE_NVML_RECORDING=str(machines.RECORDINGS / "one_t4.json"),
        **environ,
    )
    return {row["what"]: row for row in rows}
