"""Each test has a rekindle home of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rekindle.gpu_restore.driver import RECORDING
from tests.gpu_restore import machines


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REKINDLE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Plays a recorded machine from now on; its recording may be changed."""

    def play(name: str) -> Path:
        path = tmp_path / "machine.json"
        path.write_text(json.dumps(machines.recording(name)))
        monkeypatch.setenv(RECORDING, str(path))
        return path

    return play
