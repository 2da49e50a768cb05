"""CRIU's logs in words: why a dump or a restore failed, and what to do.

Pure text in, text out. The patterns are those of CRIU 4; what none of them knows is reported by
CRIU's own last error lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class _Cause:
    pattern: re.Pattern[str]
    words: str  # formatted with the pattern's groups


def _causes(*pairs: tuple[str, str]) -> tuple[_Cause, ...]:
    return tuple(_Cause(re.compile(pattern), words) for pattern, words in pairs)


_DUMP = _causes(
    (
        r"Connected TCP socket, consider using --tcp-established option",
        "a TCP connection is open",
    ),
)

_RESTORE = _causes()
_LAST_ERRORS = 3


def explain_dump_failure(log_text: str) -> str:
    """Why CRIU could not dump, in words, from its log."""
    return _explain(log_text, _DUMP)


def explain_restore_failure(log_text: str) -> str:
    """Why CRIU could not restore, in words, from its log."""
    return _explain(log_text, _RESTORE)


def _explain(log_text: str, causes: tuple[_Cause, ...]) -> str:
    for cause in causes:
        found = cause.pattern.search(log_text)
        if found:
            return cause.words.format(**found.groupdict())
    errors = [line.strip() for line in log_text.splitlines() if "Error (" in line]
    return "; ".join(errors[:_LAST_ERRORS]) or "CRIU left no message"
