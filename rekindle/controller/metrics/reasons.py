"""Why a start failed, as one of a few words: a label must not hold whatever a program can say."""

from __future__ import annotations

#: Class -> what its reasons contain, in lower case; the first class that fits counts.
_CLASSES: dict[str, tuple[str, ...]] = {
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
    for name, signs in _CLASSES.items():
        if any(sign in text for sign in signs):
            return name
    return OTHER
