"""Whole runs from the shell are measured, and nothing of them stays."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from rekindle.exception import Error
from starting import shell


def test_first_and_second_run_are_measured_in_a_home_that_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="rk-t-") as place:
        monkeypatch.setattr(tempfile, "tempdir", place)
        monkeypatch.setattr(shell, "_has_torch", lambda: False)
        monkeypatch.setenv("CI", "true")
        times = shell.measure(rounds=1)
        assert list(Path(place).iterdir()) == []
    assert times.torch is None
    for samples in (times.python, times.first, times.second):
        assert len(samples.wall_ms) == len(samples.cpu_ms) == 1
        assert samples.median_ms > 0


def test_a_script_that_fails_is_an_error_with_what_it_said(tmp_path: Path) -> None:
    script = tmp_path / "missing.py"
    with pytest.raises(Error, match=r"missing\.py"):
        shell.measure(rounds=1, script=script)
