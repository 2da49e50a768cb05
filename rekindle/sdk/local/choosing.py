"""Which instance a command or a program uses: the one place that decides it. Starts nothing.

1. What is named: ``$REKINDLE_DIR``. It must be there.
2. What runs already, of this home: what ``rekindle up`` keeps; else, for who only asks or calls,
   the newest that lingers and serves.
3. One of its own, for who runs or deploys an app: ``session.py`` and ``staying.py`` bring it up.

Who has an app running talks to that app's instance; sdk/running.py knows of it. An instance is
there when its supervisor lives, or its controller answers: files that a killed one has left are
passed over.
"""

from __future__ import annotations

import os
from pathlib import Path

from rekindle import paths
from rekindle.exception import ConnectionError
from rekindle.sdk.local import directory as instance
from rekindle.sdk.local import lingering

VARIABLE = "REKINDLE_DIR"
NONE_IS_UP = f"no instance is up; `rekindle up` starts one ({VARIABLE} names that of another)"


def named() -> Path | None:
    """What ``$REKINDLE_DIR`` names; None where it is not set.

    Raises ConnectionError where that is no instance directory, or its instance has ended.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    directory = Path(text).absolute()
    if not os.path.exists(paths.token_file(directory)):  # nor can it be, of a name too long
        raise ConnectionError(
            f"{VARIABLE}={text} is no instance directory (it has no token); "
            f"unset it, or point it at the directory that `rekindle up` prints"
        )
    if not is_up(directory):
        raise ConnectionError(
            f"the instance in {VARIABLE}={text} has ended (nothing serves there): "
            f"start it again, or unset {VARIABLE}"
        )
    return directory


def is_up(directory: Path) -> bool:
    """Whether an instance serves a directory, or is just being started or started again."""
    return instance.supervisor_pid(directory) is not None or instance.answers(directory)


def kept() -> Path | None:
    """What ``rekindle up`` keeps, where it is up."""
    directory = paths.daemon_dir()
    return directory if is_up(directory) else None


def place() -> Path:
    """The directory of the instance that who only asks means, whether it is up or not."""
    text = os.environ.get(VARIABLE)
    return Path(text).absolute() if text else _up() or paths.daemon_dir()


def existing() -> Path:
    """The instance of who asks or calls, and starts none. Raises ConnectionError."""
    if (found := named() or _up()) is None:
        raise ConnectionError(NONE_IS_UP)
    return found


def _up() -> Path | None:
    return kept() or lingering.newest()
