"""What a start took and what failed on its way; reasons as one of a few words.

A label must not hold whatever a program can say.
"""

from __future__ import annotations

from collections.abc import Iterator

from rekindle.wire import rekindle_pb2 as pb
from rekindle.wire.phases import Strategy

_STRATEGIES = {strategy.value for strategy in Strategy}

#: Class -> what its reasons contain, in lower case; the first class that fits counts.
CLASSES: dict[str, tuple[str, ...]] = {
    "timeout": ("startup_timeout", "not ready within", "timed out", "timeout"),
    "corrupt": ("checksum", "corrupt", "truncated", "missing", "is not what it was", "bytes long"),
    "foreign": ("kernel", "cpu feature", "criu changed", "architecture", "another machine"),
    "changed": ("changed since", "has changed", "changed:", "package changed", "code changed"),
    "no_criu": ("no criu", "criu was not found", "criu is not"),
    "not_permitted": ("permission", "not permitted", "cap_sys_admin", "cap_checkpoint"),
    "no_space": ("no space", "disk is full", "disk full", "enospc"),
    "no_memory": ("cannot allocate", "out of memory", "enomem", "memory"),
    "unsafe_to_fork": ("not safe to fork", "threads are alive", "thread"),
    "unavailable": ("no live template", "no snapshot", "no idle runner", "is not set"),
    "killed": ("killed by", "signal", "died", "closed its connection"),
    "user_code": ("raised", "importerror", "error:", "exception"),
    "criu": ("criu", "restore", "dump"),
}
OTHER = "other"


def class_of(reason: str) -> str:
    """The class of a reason in words; ``other`` where none fits."""
    text = reason.lower()
    for name, signs in CLASSES.items():
        if any(sign in text for sign in signs):
            return name
    return OTHER


def seconds_of(start: pb.RunnerStart) -> float:
    """How long a start took."""
    return sum(start.phases_ms.values()) / 1000


def strategy_of(start: pb.RunnerStart) -> str:
    """Its strategy; of one that failed the last step of the ladder."""
    return start.strategy or Strategy.COLD.value


def failures_of(start: pb.RunnerStart) -> Iterator[tuple[str, str]]:
    """(strategy, class of the reason) of what failed on its way, the start itself included."""
    for note in start.notes:
        strategy, found, reason = note.partition(" passed over: ")
        if found and strategy in _STRATEGIES:
            yield strategy, class_of(reason)
    if start.error:
        yield strategy_of(start), class_of(start.error)
