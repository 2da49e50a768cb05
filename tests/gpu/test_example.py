"""The example with a GPU, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def test_the_example_gives_on_a_gpu_what_the_cpu_gives(torch_cuda: Any, tmp_path: Path) -> None:
    cli = "import sys; from rekindle.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", cli, "run", str(ROOT / "examples" / "on_gpu.py"), "--inputs", "2"],
        env={**os.environ, "REKINDLE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("0: ") and second.startswith("1: ")
    assert f"on {torch_cuda.cuda.get_device_name(0)}; this machine's CPU says" in second
