"""Two machines, each with a copy of one store's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rekindle.volumes.remote import Folder
from rekindle.volumes.turn import Turn


class Machine:
    """A machine's copy of the store."""

    def __init__(self, root: Path, url: str) -> None:
        files = root / "files"
        files.mkdir(parents=True)
        self.files = files
        self.folder = Folder(files, "the volume 'v'", url)

    def write(self, path: str, text: str) -> None:
        (self.files / path).parent.mkdir(parents=True, exist_ok=True)
        (self.files / path).write_text(text)

    def holds(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.files)): path.read_text()
            for path in sorted(self.files.rglob("*"))
            if path.is_file()
        }

    def send_to(self, other: Machine) -> None:
        """Commit here, and reload there."""
        self.folder.commit()
        other.folder.pull()


def after_look(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Have a change made when the files were looked at, and nothing was brought or sent yet."""
    look = Turn.look

    def looked(turn: Turn) -> dict[str, list[int]]:
        found = look(turn)
        change()
        return found

    monkeypatch.setattr(Turn, "look", looked)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Machine, Machine]:
    """Two machines and the store between them, a directory."""
    url = f"file://{tmp_path / 'store'}"
    return Machine(tmp_path / "one", url), Machine(tmp_path / "two", url)
