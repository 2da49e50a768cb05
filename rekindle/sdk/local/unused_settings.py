"""Settings in which a program differs from an instance: which do nothing there, or need another.

Whoever sets them would believe that they hold, or would wonder why another is brought up. Knows of
what a setting means only who uses it; and whether the supervisor of an instance was started with
the same.
"""

from __future__ import annotations

import os
from pathlib import Path

from rekindle import paths
from rekindle.sdk.local import choosing, lingering
from rekindle.sdk.local import directory as instance
from rekindle.volumes.registry import URL_VARIABLE, VARIABLE
from rekindle.wire.runner_variables import RUNNER_ID

#: What programs use, too, and what their runners do then.
_OF_PROGRAMS_TOO = {
    VARIABLE: "runners have their volumes in another directory",
    URL_VARIABLE: "volumes that runners make keep their files elsewhere",
}


def note(directory: Path) -> str:
    """What to tell a program that uses the instance there; empty where it all holds."""
    unused = _unused(directory)
    if not unused:
        return ""
    nothing = [name for name in unused if name not in _OF_PROGRAMS_TOO]
    does = "does" if len(nothing) == 1 else "do"
    said = [f"{', '.join(nothing)} {does} nothing here"] if nothing else []
    said.extend(
        f"{name} is for programs alone here: {_OF_PROGRAMS_TOO[name]}"
        for name in unused
        if name in _OF_PROGRAMS_TOO
    )
    return (
        f"{'; '.join(said)}. The instance that is up was started with other settings; "
        f"{_remedy(directory)}"
    )


def _remedy(directory: Path) -> str:
    if directory.resolve() == paths.daemon_dir().resolve():
        return "`rekindle down`, then `rekindle up`, has it take yours"
    return (
        f"{choosing.VARIABLE} names it: whoever started it can start it again with yours, or unset "
        f"{choosing.VARIABLE}"
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
