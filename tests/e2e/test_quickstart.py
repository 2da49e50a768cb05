"""docs/quickstart.md, from its top to its end: each program, each command, and what it prints."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.e2e.harness import COMMAND, PATIENCE_S, Home

_GUIDE = Path(__file__).parents[2] / "docs" / "quickstart.md"
_BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.M | re.S)


def test_the_quick_start_does_what_it_says(home: Home) -> None:
    environ = home.environ | {
        "PATH": f"{COMMAND.parent}{os.pathsep}{home.environ['PATH']}",
        "REKINDLE_LINGER": "600s",  # as a user has it; the last command ends it
    }
    environ.pop("CI", None)
    commands = 0
    try:
        for kind, text in _BLOCK.findall(_GUIDE.read_text(encoding="utf-8")):
            if kind == "python":
                name = re.match(r"# (\w+\.py)\n", text)
                assert name is not None, text
                home.script(text, name[1])
                continue
            for command, printed in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.M):
                ended = subprocess.run(
                    ["bash", "-c", command],
                    cwd=home.scripts,
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=PATIENCE_S,
                    check=False,
                )
                assert (ended.returncode, ended.stdout) == (0, printed), f"{command}\n{ended}"
                commands += 1
    finally:
        home.rekindle("down", status=None)
    assert commands >= 10
