"""Settings in which a program differs from an instance: which do nothing there, or need another.

Whoever sets them would believe that they hold, or would wonder why another is brought up. Knows
nothing of what a setting means: only whether the supervisor of an instance was started with the
same.
"""

from __future__ import annotations

import os
from pathlib import Path

from rekindle.sdk.local import directory as instance
from rekindle.sdk.local import lingering
from rekindle.wire.runner_variables import RUNNER_ID


def note(directory: Path) -> str:
    """What to tell a program that uses the instance there; empty where it all holds."""
    unused = _unused(directory)
    if not unused:
        return ""
    does = "does" if len(unused) == 1 else "do"
    return (
        f"{', '.join(unused)} {does} nothing here: the instance that is up was started with other "
        f"settings; `rekindle down`, then `rekindle up`, has it take yours"
    )


def other_than(directory: Path) -> str:
    """What an instance that lingers has that keeps this program from using it, in words."""
    pid = instance.supervisor_pid(directory)
    try:
        has = lingering.must_be_the_same(_environment_of(pid)) if pid is not None else None
    except OSError:  # it is another user's, or has just ended
        has = None
    if has is None:
        return "other settings, or another rekindle or Python"
    ours = lingering.must_be_the_same(os.environ)
    names = sorted(name for name in {*has, *ours} if has.get(name) != ours.get(name))
    return f"other settings ({', '.join(names)})" if names else "another rekindle or Python"


def _unused(directory: Path) -> list[str]:
    """Names of settings that this program has, and the instance has not, or otherwise."""
    wanted = {name: value for name, value in lingering.settings(os.environ).items() if value}
    if not wanted or RUNNER_ID in os.environ:  # a runner's are not for an instance
        return []
    pid = instance.supervisor_pid(directory)
    if pid is None:
        return []
    try:
        started_with = lingering.settings(_environment_of(pid))
    except OSError:  # it is another user's, or has just ended: nothing is known of it
        return []
    return sorted(name for name, value in wanted.items() if started_with.get(name) != value)


def _environment_of(pid: int) -> dict[str, str]:
    """What a process was started with. Raises OSError."""
    raw = Path(f"/proc/{pid}/environ").read_bytes()
    lines = (os.fsdecode(line).partition("=") for line in raw.split(b"\0"))
    return {name: value for name, _, value in lines}
