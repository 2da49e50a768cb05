"""Two machines' copies of one store's folder: who sees what of the other, and when."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekindle.exception import InvalidError, VolumeError
from rekindle.volumes.remote import Folder, of_url


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


@pytest.fixture
def two(tmp_path: Path) -> tuple[Machine, Machine]:
    """Two machines and the store between them, a directory."""
    url = f"file://{tmp_path / 'store'}"
    return Machine(tmp_path / "one", url), Machine(tmp_path / "two", url)


def test_what_one_writes_the_other_sees_after_commit_and_reload(
    two: tuple[Machine, Machine],
) -> None:
    one, other = two
    one.write("a/b", "1")
    other.folder.pull()
    assert other.holds() == {}  # not committed
    one.folder.commit()
    assert other.holds() == {}  # not reloaded
    other.folder.pull()
    assert other.holds() == {"a/b": "1"}
    (one.files / "a/b").unlink()
    one.write("c", "2")
    one.folder.commit()
    other.folder.pull()
    assert other.holds() == {"c": "2"}


def test_the_last_commit_of_a_file_wins_and_others_are_kept(two: tuple[Machine, Machine]) -> None:
    one, other = two
    one.write("same", "one")
    one.write("of one", "1")
    other.write("same", "two, longer")
    other.write("of two", "2")
    one.folder.commit()
    other.folder.commit()
    one.folder.pull()
    other.folder.pull()
    both = {"of one": "1", "of two": "2", "same": "two, longer"}
    assert one.holds() == other.holds() == both


def test_what_was_not_committed_is_never_overwritten(two: tuple[Machine, Machine]) -> None:
    one, other = two
    one.write("file", "first")
    one.folder.commit()
    other.folder.pull()
    other.write("file", "mine, not committed")
    one.write("file", "second")
    one.write("new", "x")
    other.write("new", "mine as well")
    one.folder.commit()
    other.folder.pull()
    assert other.holds() == {"file": "mine, not committed", "new": "mine as well"}
    other.folder.commit()
    one.folder.pull()
    assert one.holds() == other.holds()


def test_what_was_removed_elsewhere_and_changed_here_comes_back(
    two: tuple[Machine, Machine],
) -> None:
    one, other = two
    one.write("file", "first")
    one.folder.commit()
    other.folder.pull()
    (one.files / "file").unlink()
    one.folder.commit()
    other.write("file", "changed")
    other.folder.pull()
    assert other.holds() == {"file": "changed"}
    other.folder.commit()
    one.folder.pull()
    assert one.holds() == {"file": "changed"}


def test_nothing_of_a_store_is_written_outside_and_links_do_not_travel(
    two: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one, other = two
    (tmp_path / "outside").write_text("not yours")
    (one.files / "link").symlink_to(tmp_path / "outside")
    one.write("plain", "1")
    one.folder.commit()
    other.folder.pull()
    assert other.holds() == {"plain": "1"}
    # A link where the store has a folder leads out; what lies there stays as it is.
    (tmp_path / "elsewhere").mkdir()
    (other.files / "folder").symlink_to(tmp_path / "elsewhere")
    one.write("folder/file", "x")
    one.folder.commit()
    with pytest.raises(VolumeError, match="leaves"):
        other.folder.pull()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_start_looks_at_the_store_whatever_was_sent_or_failed_a_moment_ago(
    two: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one, other = two
    one.write("folder/file", "1")
    one.folder.commit()
    (other.files / "folder").symlink_to(tmp_path)
    for _ in range(2):
        with pytest.raises(VolumeError, match="leaves"):
            other.folder.pull_if_old()
    (other.files / "folder").unlink()
    other.write("mine", "x")
    other.folder.commit()  # sends, and looks at nothing
    other.folder.pull_if_old()
    assert other.holds() == {"folder/file": "1", "mine": "x"}


def test_a_folder_that_is_gone_takes_nothing_of_the_store_along(
    two: tuple[Machine, Machine],
) -> None:
    one, other = two
    one.write("file", "1")
    one.folder.commit()
    one.files.rename(one.files.with_name("elsewhere"))
    with pytest.raises(VolumeError, match="cannot be made the same"):
        one.folder.push()
    other.folder.pull()
    assert other.holds() == {"file": "1"}


def test_a_file_that_is_removed_while_others_are_sent_is_left_out(
    two: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    one.write("a", "1")
    one.write("b", "2")
    seen = one.folder._local()
    (one.files / "a").unlink()
    monkeypatch.setattr(Folder, "_local", lambda _folder: seen)
    one.folder.commit()
    monkeypatch.undo()
    other.folder.pull()
    assert other.holds() == {"b": "2"}


def test_a_store_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="nonsense://x cannot be used"):
        Machine(tmp_path, "nonsense://x").folder.pull()
    with pytest.raises(InvalidError, match="no URL"):
        of_url(tmp_path, "bucket", {})
