"""Handlers of ``atexit`` that remove files, before it is known whether a process has copies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import atexit, functools, os, pathlib, shutil, sys, tempfile
from rekindle.runtime.runner import process_end

process_end.watch()
root = pathlib.Path(sys.argv[1])
kept = tempfile.TemporaryDirectory(dir=root)
atexit.register(shutil.rmtree, root / "tree")
atexit.register(functools.partial(os.remove, root / "partial"))
atexit.register((root / "method").unlink)
atexit.register(os.remove, root / "unregistered")
atexit.register((root / "called").touch)
atexit.unregister(os.remove)
getattr(process_end, sys.argv[2])()
atexit.register(os.remove, root / "later")
process_end.finish()
os._exit(0)
"""


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ("take_over", {"called", "unregistered"}),
        ("leave_to_copies", {"called", "method", "partial", "tree", "unregistered"}),
    ],
)
def test_what_removes_files_runs_where_the_process_has_no_copies(
    tmp_path: Path, step: str, left: set[str]
) -> None:
    (tmp_path / "tree").mkdir()
    for name in ("partial", "method", "unregistered", "later"):
        (tmp_path / name).touch()
    subprocess.run([sys.executable, "-c", _PROGRAM, str(tmp_path), step], check=True, timeout=100)
    found = {one.name for one in tmp_path.iterdir() if not one.name.startswith("tmp")}
    assert found == left
    # A temporary directory of all copies is there, one of the process alone is not.
    directories = [one for one in tmp_path.iterdir() if one.name.startswith("tmp")]
    assert len(directories) == (step == "leave_to_copies")
