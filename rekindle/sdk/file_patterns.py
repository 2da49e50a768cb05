"""FilePatternMatcher: patterns of files, as something that ``ignore=`` takes.

Patterns are those of a .dockerignore file (sdk/ignore_patterns.py). Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rekindle.exception import InvalidError
from rekindle.sdk.ignore_patterns import Ignored, Opposite, ignored_by, may_take_back
from rekindle.sdk.user_frames import trims
from rekindle.wire.usercode import came_by_signal


@trims
class FilePatternMatcher:
    """Whether a path matches: ``ignore=FilePatternMatcher("*.log")``; ``~`` turns it round.

    A path is relative to the folder that is added. Raises InvalidError for what is no pattern.
    """

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns
        self._matches: Ignored = ignored_by(list(patterns))

    @classmethod
    def from_file(cls, file_path: str | Path) -> FilePatternMatcher:
        """With the patterns of a file, one a line. Raises InvalidError where it cannot be read."""
        try:
            lines = Path(file_path).read_text().splitlines()
        except OSError as error:
            if came_by_signal(error):
                raise
            given = str(file_path)
            raise InvalidError(f"FilePatternMatcher.from_file({given!r}): {error}") from None
        return cls(*lines)

    def __call__(self, path: str | Path) -> bool:
        return self._matches(Path(path))

    def __invert__(self) -> Callable[[Path], bool]:
        return Opposite(self._matches)

    def may_take_back(self, folder: Path) -> bool:
        """Whether something in a folder that matches may not match itself."""
        return may_take_back(self._matches, folder)

    def __repr__(self) -> str:
        return f"FilePatternMatcher({', '.join(map(repr, self.patterns))})"
