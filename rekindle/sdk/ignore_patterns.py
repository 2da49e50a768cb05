"""Which local files are left out: patterns as in a .dockerignore file, read as Docker reads them.

Standard library only.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rekindle.exception import InvalidError
from rekindle.sdk import name_patterns
from rekindle.wire.usercode import came_by_signal

#: Whether a path, relative to the folder that is added, is left out.
Ignored = Callable[[Path], bool]
Ignore = Sequence[str] | Ignored

_FILE = ".dockerignore"


def nothing(_path: Path) -> bool:
    """Leave nothing out."""
    return False


def not_python(path: Path) -> bool:
    """Leave out what is no source of Python, and what it compiles to."""
    return path.suffix not in ("", ".py", ".pyi") or path.name == "__pycache__"


class Patterns:
    """Whether a path is left out: the last pattern that matches it, or a folder that it lies in,
    decides; ``!`` takes back, ``**`` stands for any folders. Raises InvalidError."""

    def __init__(self, lines: Iterable[str]) -> None:
        #: Parts of each pattern, and whether it takes back.
        self._patterns: list[tuple[list[str], bool]] = []
        for line in lines:
            text = line.strip()
            if not text or line.startswith("#"):
                continue
            takes_back = text.startswith("!")
            cleaned = posixpath.normpath("/" + text.removeprefix("!").strip()).lstrip("/")
            if cleaned:
                _check(cleaned)
                self._patterns.append((cleaned.split("/"), takes_back))
            elif text == "!":
                raise InvalidError(f"{line!r} is no pattern: write what ! takes back")

    def __call__(self, path: Path) -> bool:
        places = [one.parts for one in (path, *path.parents) if one != Path()]
        out = False
        for parts, takes_back in self._patterns:
            if out is takes_back and any(_fits(place, parts) for place in places):
                out = not takes_back
        return out

    def may_take_back(self, folder: Path) -> bool:
        """Whether something in a folder that is left out may be there all the same."""
        return any(back and _may_lead(folder.parts, parts) for parts, back in self._patterns)


class Below:
    """The same for paths that are relative to a folder of what was meant."""

    def __init__(self, ignored: Ignored, folder: Path) -> None:
        self._ignored = ignored
        self._folder = folder

    def __call__(self, path: Path) -> bool:
        return self._ignored(self._folder / path)

    def may_take_back(self, folder: Path) -> bool:
        """As of Patterns."""
        return may_take_back(self._ignored, self._folder / folder)


class Opposite(Below):
    """What is left out is kept, and the other way round."""

    def __init__(self, ignored: Ignored) -> None:
        super().__init__(ignored, Path())

    def __call__(self, path: Path) -> bool:
        return not super().__call__(path)

    def may_take_back(self, folder: Path) -> bool:
        """Any folder may hold what matches."""
        return True


def may_take_back(ignored: Ignored, folder: Path) -> bool:
    """Whether to look into a folder that is left out. A function of the user's speaks for all that
    is in one."""
    asked = getattr(ignored, "may_take_back", None)
    return bool(asked is not None and asked(folder))


def ignored_by(given: Ignore) -> Ignored:
    """What ``ignore=`` says: patterns, or a function of a path. Raises InvalidError."""
    if callable(given):
        return given
    is_list = isinstance(given, Sequence) and not isinstance(given, (str, bytes))
    if not is_list or not all(isinstance(one, str) for one in given):
        raise InvalidError(f"ignore={given!r} must be a list of patterns, or a function of a path")
    return Patterns(given) if given else nothing


def of_context(context: Path, dockerfile: Path | None = None) -> Ignored:
    """What the .dockerignore file of a build context says; first of all that of one Dockerfile,
    ``NAME.dockerignore`` beside it. Raises InvalidError where one cannot be read."""
    places = [context / _FILE]
    if dockerfile is not None:
        places.insert(0, dockerfile.with_name(f"{dockerfile.name}{_FILE}"))
    for place in places:
        try:
            return Patterns(place.read_text(encoding="utf-8-sig").splitlines())
        except FileNotFoundError:
            continue
        except InvalidError as error:
            raise InvalidError(f"{place}: {error}") from error
        except (OSError, ValueError) as error:
            if came_by_signal(error):
                raise
            raise InvalidError(f"{place} cannot be read: {error}") from error
    return nothing


def _check(pattern: str) -> None:
    try:
        for part in pattern.split("/"):
            name_patterns.check(part)
    except ValueError as error:
        raise InvalidError(str(error)) from error


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    if not parts:
        return not names
    if parts == ["**"]:  # what is in a folder, and not that
        return bool(names)
    if parts[0] == "**":
        return any(_fits(names[skip:], parts[1:]) for skip in range(len(names) + 1))
    return bool(names) and name_patterns.fits(names[0], parts[0]) and _fits(names[1:], parts[1:])


def _may_lead(folder: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether a pattern may match what is in a folder."""
    for name, part in zip(folder, parts, strict=False):
        if part == "**":
            return True
        if not name_patterns.fits(name, part):
            return False
    return True  # also where it matches the folder: what is in it was left out later
