"""The virtual environment of the peers, apart from rekindle's own, so that neither is in the other.

``.venv-peers`` is made with pip when it is missing, and made again when what it is to hold changes.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from rekindle.exception import SetupError

ROOT = Path(__file__).resolve().parent.parent.parent
DIRECTORY = ROOT / ".venv-peers"

#: As rekindle's own (pyproject.toml): both sides must load the same PyTorch.
_TORCH = "torch==2.13.0"
#: The newest of each on 2026-11-21.
_PEERS = ("ray==2.60.0", "celery[redis]==5.7.0", "numpy==2.4.6", "py-spy==0.4.3")
_PATIENCE_S = 3600.0


def python() -> Path:
    """The interpreter of the environment."""
    return DIRECTORY / "bin" / "python"


def ready() -> bool:
    """Whether the environment is there and holds what it is to hold."""
    return _stamp().exists()


def make(console: Console) -> None:
    """Make the environment unless it is ready.

    Raises SetupError, with the end of what pip said, where that is not possible.
    """
    if ready():
        return
    console.print(f"[dim]making {DIRECTORY.name} ({', '.join((_TORCH, *_PEERS))})[/]")
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    _run("sh", str(ROOT / "dev" / "venv.sh"), sys.executable, str(DIRECTORY))
    pip = (str(python()), "-m", "pip", "--disable-pip-version-check", "--no-input", "install")
    # PyTorch by itself and first: then its pinned build comes from wherever this machine's pip is
    # configured to find it, before anything that depends on it.
    _run(*pip, _TORCH)
    _run(*pip, *_PEERS)
    _stamp().touch()


def _stamp() -> Path:
    digest = hashlib.sha256("\n".join((_TORCH, *_PEERS)).encode()).hexdigest()[:12]
    return DIRECTORY / f".stamp-{digest}"


def _run(*argv: str) -> None:
    try:
        ended = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_PATIENCE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"the peers cannot be installed: {error}") from None
    if ended.returncode != 0:
        last = "\n  ".join(ended.stdout.splitlines()[-5:])
        raise SetupError(
            f"the peers cannot be installed ({' '.join(argv[:1])} ended with "
            f"{ended.returncode}); they need a network or a configured package index, and about "
            f"2 GB in {DIRECTORY.name}:\n  {last}"
        )
