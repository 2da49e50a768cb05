"""Programs that are measured: run by themselves, they print what they have found as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def said_by(
    program: Path, *arguments: str, environ: Mapping[str, str], timeout_s: float
) -> dict[str, Any]:
    """The last line of what one prints, with these variables besides our own."""
    done = subprocess.run(
        [sys.executable, str(program), *arguments],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout_s,
        check=True,
    )
    said: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
    return said
