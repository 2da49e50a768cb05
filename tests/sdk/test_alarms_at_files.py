"""An alarm of the program's own while a file of the user's is read is none of the file's errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rekindle import FilePatternMatcher, Secret
from rekindle.sdk import ignore_patterns
from rekindle.sdk.images import dockerfile, function_digest, step_commands
from rekindle.sdk.program import imports, source
from tests.alarms import too_late

_READS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "Dockerfile": ("read_text", lambda file: dockerfile.read(file, {})),
    ".dockerignore": ("read_text", lambda file: ignore_patterns.of_context(file.parent)),
    "patterns": ("read_text", FilePatternMatcher.from_file),
    "pyproject.toml": ("read_text", lambda file: step_commands.of_pyproject(file, [])),
    ".env": ("open", lambda file: Secret.from_dotenv(str(file.parent))),
}


@pytest.mark.parametrize("name", _READS)
def test_it_comes_through(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).touch()
    called, read = _READS[name]
    with too_late(monkeypatch, Path, called):
        read(tmp_path / name)


def test_it_comes_through_while_modules_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = imports.LocalModule("own", tmp_path / "own.py")
    for part, found in ((imports, "imported_by"), (source, "local_modules")):
        monkeypatch.setattr(part, found, lambda _: {"own": module})
    with too_late(monkeypatch, Path, "read_bytes"):
        function_digest._Sources()._whole_module("own")
    with too_late(monkeypatch, Path, "read_bytes"):
        source.collect(None)
