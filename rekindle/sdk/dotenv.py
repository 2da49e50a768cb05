"""Read ``.env`` files: ``NAME=value`` lines, comments, quotes. Standard library only."""

from __future__ import annotations

import re
from pathlib import Path

from rekindle.exception import InvalidError

_LINE = re.compile(
    r"""
    (?:export\s+)? ([A-Za-z_][A-Za-z0-9_]*) \s*=\s*
    (?: "((?:[^"\\]|\\.)*)" | '([^']*)' | ([^\#\n]*?) )
    \s* (?:\#.*)?
    """,
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def load(path: str | Path | None, filename: str) -> dict[str, str]:
    """Values of the file at ``path``, or of the nearest ``filename`` at or above it."""
    file = _find(path, filename)
    out: dict[str, str] = {}
    for number, raw in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise InvalidError(f"{file}:{number} is not of the form NAME=value")
        name, double, single, bare = match.groups()
        if double is not None:
            double = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), double)
        out[name] = next(text for text in (double, single, bare, "") if text is not None)
    return out


def _find(path: str | Path | None, filename: str) -> Path:
    start = Path(path or ".").absolute()
    if start.is_file():
        return start
    for directory in (start, *start.parents):
        candidate = directory / filename
        if candidate.is_file():
            return candidate
    raise InvalidError(f"Secret.from_dotenv: no {filename} in {start} or above it")
