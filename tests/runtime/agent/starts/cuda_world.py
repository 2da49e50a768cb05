"""A recorded machine on which runners bring CUDA up: a stand-in's, in processes of their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rekindle.gpu_restore.driver import RECORDING
from rekindle.runtime.agent import gpus
from rekindle.runtime.agent.starts import gpu_checkpoints
from tests.gpu_restore import cuda_process, machines

REPOSITORY = str(Path(__file__).parents[4])


class StandIn:
    """As part of a class: CUDA is the stand-in wherever the class is loaded."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return cuda_process.install, ()


class World:
    """A recorded machine with a stand-in for its driver."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
        self.log, self.failing = path / "log", path / "fails"
        (path / "machine.json").write_text(json.dumps(machines.recording(machine)))
        monkeypatch.setenv(RECORDING, str(path / "machine.json"))
        monkeypatch.setattr(gpus, "RECORDING", "NOTHING_IS_RECORDED")
        monkeypatch.setenv(cuda_process.LOG, str(self.log))
        monkeypatch.setenv(cuda_process.FAILS, str(self.failing))
        monkeypatch.setenv("PYTHONPATH", REPOSITORY)
        monkeypatch.setattr(
            gpu_checkpoints,
            "helper_argv",
            lambda: [sys.executable, "-m", "tests.gpu_restore.cuda_process"],
        )

    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def fail(self, call: str) -> None:
        self.failing.write_text(call)
