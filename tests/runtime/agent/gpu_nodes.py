"""Functions that tell what they see of GPUs, and what a node of a recorded machine is asked."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from rekindle.gpu_restore.recorded import Recording
from tests.gpu_restore import machines
from tests.runtime.agent.harness import Gate, Harness


class Model:
    """Tells what it sees of GPUs."""

    def sees(self) -> dict[str, str]:
        names = ("CUDA_VISIBLE_DEVICES", "REKINDLE_GPU_MEMORY_MIB")
        return {name: os.environ[name] for name in names if name in os.environ}

    def wait(self, gate: str) -> str:
        os.close(os.open(gate, os.O_RDONLY))
        return "done"

    def opens(self, path: str) -> str:
        try:
            os.close(os.open(path, os.O_RDWR))
        except OSError as error:
            return type(error).__name__
        return "open"

    def child(self) -> int:
        """A process that it starts, by its number on the machine."""

        self.process = subprocess.Popen(["sleep", "1000"])
        return self.process.pid

    def exit_(self) -> None:
        print("goodbye")


def uuids(name: str) -> list[str]:
    return [gpu["uuid"] for gpu in machines.recording(name)["gpus"]]


def change(path: Path, with_what: Callable[[Recording], None]) -> None:
    recording: Recording = json.loads(path.read_text())
    with_what(recording)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(recording))
    draft.rename(path)


def device_of(harness: Harness, function_id: str) -> list[str]:
    """UUIDs that runners of a function have."""
    return [uuid for runner in harness.runners(function_id) for uuid in runner.gpus]


async def occupy(harness: Harness, function_id: str, gate: Gate) -> tuple[str, int]:
    """Have a runner of a function hold its devices until the gate is opened; the input's key."""
    key = harness.submit(function_id, "wait", gate.path)
    await harness.uplink.until(lambda: device_of(harness, function_id))
    return key
